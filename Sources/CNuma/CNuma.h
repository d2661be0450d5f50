// Carries the link flag alone. <numa.h> is included once, in CSluice.h: a second module that
// includes system headers under other feature macros makes Clang refuse both.
