# Logs, metrics and alarms. The CloudWatch agent on each appliance scrapes Sluice's own /metrics once a
# minute and sends what the alarms need, counters as their growth, in the namespace below; a timer sends
# the growth of the network card's allowance counters (templates/allowance.sh.tftpl).

locals {
  metrics_namespace = "Sluice"
  alarm_actions     = tolist(var.alarm_topic_arns)

  agent_configuration = {
    agent = { metrics_collection_interval = 60 }
    # How many more connections the security groups can track; the driver's own gauge.
    metrics = {
      namespace         = local.metrics_namespace
      append_dimensions = { InstanceId = "$${aws:InstanceId}" }
      metrics_collected = {
        ethtool = { interface_include = ["*"], metrics_include = ["conntrack_allowance_available"] }
      }
    }
    logs = {
      metrics_collected = {
        prometheus = {
          prometheus_config_path = "/opt/aws/amazon-cloudwatch-agent/etc/prometheus.yaml"
          log_group_name         = aws_cloudwatch_log_group.this["metrics"].name
          emf_processor = {
            metric_namespace = local.metrics_namespace
            metric_declaration = [
              {
                source_labels    = ["job"]
                label_matcher    = "^sluice$"
                dimensions       = [["fleet", "reason"]]
                metric_selectors = ["^sluice_packets_dropped_total$"]
              },
              {
                source_labels = ["job"]
                label_matcher = "^sluice$"
                dimensions    = [["fleet"]]
                metric_selectors = [
                  "^sluice_packets_(received|forwarded)_total$",
                  "^sluice_bytes_(received|forwarded)_total$",
                  "^sluice_kernel_drops_total$",
                ]
              },
            ]
          }
        }
      }
      logs_collected = {
        files = {
          collect_list = [
            {
              file_path       = "/var/log/sluice.log"
              log_group_name  = aws_cloudwatch_log_group.this["service"].name
              log_stream_name = "{instance_id}"
            },
            {
              file_path       = "/var/log/cloud-init-output.log"
              log_group_name  = aws_cloudwatch_log_group.this["service"].name
              log_stream_name = "{instance_id}-cloud-init"
            },
          ]
        }
      }
    }
  }
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_158:Encrypted with AWS's key by default, with the caller's own by var.kms_key_arn
  #checkov:skip=CKV_AWS_338:Kept for a year by default; the caller chooses (var.log_retention_days)
  for_each = toset(["service", "metrics"])

  name              = "/sluice/${var.name}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

resource "aws_cloudwatch_metric_alarm" "unhealthy" {
  alarm_name          = "${var.name}-unhealthy-appliances"
  alarm_description   = "An appliance of ${var.name} fails its health check"
  namespace           = "AWS/GatewayELB"
  metric_name         = "UnHealthyHostCount"
  dimensions          = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.this.arn_suffix }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
  tags                = var.tags
}

# With no healthy appliance at all, traffic through the endpoints stops.
resource "aws_cloudwatch_metric_alarm" "healthy" {
  alarm_name          = "${var.name}-too-few-appliances"
  alarm_description   = "${var.name} has fewer healthy appliances than its minimum"
  namespace           = "AWS/GatewayELB"
  metric_name         = "HealthyHostCount"
  dimensions          = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.this.arn_suffix }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "LessThanThreshold"
  threshold           = var.size.min
  treat_missing_data  = "breaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "drops" {
  for_each = var.alarm_drop_reasons

  alarm_name          = "${var.name}-drops-${each.key}"
  alarm_description   = "${var.name} drops packets, reason ${each.key}"
  namespace           = local.metrics_namespace
  metric_name         = "sluice_packets_dropped_total"
  dimensions          = { fleet = var.name, reason = each.key }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alarm_drops_per_minute
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "kernel_drops" {
  alarm_name          = "${var.name}-kernel-drops"
  alarm_description   = "Packets of ${var.name} are lost before a worker takes them: more workers or a larger instance"
  namespace           = local.metrics_namespace
  metric_name         = "sluice_kernel_drops_total"
  dimensions          = { fleet = var.name }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alarm_drops_per_minute
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
  tags                = var.tags
}

# Every packet that EC2 itself queued or dropped since the instance type's allowance was used up.
resource "aws_cloudwatch_metric_alarm" "allowance" {
  alarm_name          = "${var.name}-allowance-exceeded"
  alarm_description   = "Instances of ${var.name} exceed an allowance of their type (bandwidth, packets, connections): see the dimension kind"
  namespace           = local.metrics_namespace
  metric_name         = "AllowanceExceeded"
  dimensions          = { fleet = var.name }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
  tags                = var.tags
}
