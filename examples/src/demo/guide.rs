//! What the demo prints once all is ready: RB-004, A and B, ready to paste.

use super::{BREAKER, Stack};

pub(super) fn text(stack: &Stack) -> String {
    let [api, stub, admin, health] =
        [stack.api(), stack.stub(), stack.admin(), stack.health()].map(|a| a.local_url());
    let breaker = format!("{admin}/admin/circuit-breaker/{BREAKER}");
    let fallback = format!("{admin}/admin/fallback/{BREAKER}");
    let pay = format!(
        r#"curl -s -H 'content-type: application/json' -d '{{"user_id": 7, "amount_cents": 1250, "currency": "EUR"}}' {api}/payments"#
    );
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
  its fallback      {fallback}
  sidecar           {health}/health/ready  {health}/metrics
  PostgreSQL        psql {postgres}   or {admin}/admin/db/activity

RB-004, ready to paste into another terminal:

  # a rate from the provider: asked for and stored, says Cache-Status
  curl -si {api}/rates/EUR; echo

  # break the upstream, and pay until the circuit opens
  curl -s -d '{{\"mode\": \"fail\"}}' {stub}/fault; echo
  for i in $(seq 12); do {pay}; echo; done

  # diagnose
  curl {breaker}/state; echo
  curl -s {health}/metrics | grep -E 'circuit_breaker_(state|failures_total)'
  curl -i {stub}/health; echo
  grep {BREAKER} {log} | grep ERROR | tail -3

  # B. external service still down: the rate goes on, and says how old it is
  # (Age, Cache-Status, and a note in the body)
  curl -si {api}/rates/EUR; echo
  curl -s {fallback}; echo
  curl -s {health}/metrics | grep fallback_responses_total

  # off: the same call fails with \"Circuit is open\"; on: it is answered again
  curl -s -X POST {fallback}/disable; echo
  curl -s {api}/rates/EUR; echo
  curl -s -X POST {fallback}/enable; echo
  curl -s {api}/rates/EUR; echo

  # forget every answer, here and in the file: now there is nothing to fall back on
  curl -s -X POST {fallback}/purge; echo
  curl -s {api}/rates/EUR; echo

  # reset by hand (emergency only: the upstream is still broken, it opens again)
  curl -X POST {breaker}/reset; echo

  # A. mended: wait, and call again: it closes through HALF_OPEN
  curl -s -d '{{\"mode\": \"ok\"}}' {stub}/fault; echo
  for i in $(seq 15); do curl -s {api}/rates/EUR; echo; sleep 1; done

  # the provider may say how long a rate may be kept
  curl -s -d '{{\"mode\": \"ok\", \"max_age\": \"5s\"}}' {stub}/fault; echo
  for i in $(seq 8); do curl -si {api}/rates/EUR | grep -iE '^(age|cache-status)'; sleep 1; done

Transitions of {BREAKER} show up here. Ctrl-C ends it all.
"
    )
}
