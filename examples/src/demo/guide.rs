//! What the demo prints once all is ready: RB-004, ready to paste.

use super::{BREAKER, Stack};

pub(super) fn text(stack: &Stack) -> String {
    let [api, stub, admin, health] =
        [stack.api(), stack.stub(), stack.admin(), stack.health()].map(|a| a.local_url());
    let breaker = format!("{admin}/admin/circuit-breaker/{BREAKER}");
    let (log, config) = (stack.api_log(), stack.config());
    let (log, config) = (log.display(), config.display());
    let postgres = stack.postgres().url();
    format!(
        "\
All is ready.

  payments API      {api}        /payments  /rates/{{currency}}  /users/{{id}}/orders
  its health        {api}/health/ready
  its log           {log}
  its configuration {config}   (edit it: it is reloaded)
  payment stub      {stub}/fault
  admin API         {breaker}
  sidecar           {health}/health/ready  {health}/metrics
  PostgreSQL        psql {postgres}   or {admin}/admin/db/activity

RB-004, ready to paste into another terminal:

  # break the upstream, and call it until the circuit opens
  curl -s -d '{{\"mode\": \"fail\"}}' {stub}/fault; echo
  for i in $(seq 12); do curl -s {api}/rates/EUR; echo; done

  # diagnose
  curl {breaker}/state; echo
  curl -s {health}/metrics | grep -E 'circuit_breaker_(state|failures_total)'
  curl -i {stub}/health; echo
  grep {BREAKER} {log} | grep ERROR | tail -3

  # reset by hand (emergency only: the upstream is still broken, it opens again)
  curl -X POST {breaker}/reset; echo

  # mend the upstream, wait, and call again: it closes through HALF_OPEN
  curl -s -d '{{\"mode\": \"ok\"}}' {stub}/fault; echo
  for i in $(seq 15); do curl -s {api}/rates/EUR; echo; sleep 1; done

Transitions of {BREAKER} show up here. Ctrl-C ends it all.
"
    )
}
