# What fires while the stack is changed in order: nothing. To be sourced by scripts/deploy-test.

# no_alert_fires SINCE [ALERT...]: none has since then (of "date +%s"), but for those named. $PROMETHEUS scrapes the stack.
no_alert_fires() { python tests/deploy/firing.py "$PROMETHEUS" "$@"; }

# All of it ends and comes back, visitors too; Prometheus remembers what was before, at addresses that are taken anew. An
# instance was killed before that, within the five minutes for which its alert goes on.
down_and_up_is_quiet() {
  "${compose[@]}" --profile demo down
  "${compose[@]}" --profile demo up --detach --wait --no-build "${services[@]}" visitors
  PROMETHEUS=http://$("${compose[@]}" port prometheus 9090)
  no_alert_fires "$(date +%s)" HeadcountLeaseReaped
}
