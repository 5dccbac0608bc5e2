#!/usr/bin/env bash
# Verifies $RESULTS with the interpreter of $ENVIRONMENT: a report below $TEMPORARY, a summary for the page of the job, and
# the exit code of `repro verify`. Lists in $TABLES and $FAIL_ON are divided by spaces, commas or lines.
set -euo pipefail
report=$(mktemp -d "$TEMPORARY/gcnet-repro-verify.XXXXXX")/verify.xml
options=(--results="$RESULTS" --junit="$report" --summary="$GITHUB_STEP_SUMMARY")
if [ -n "$REQUIRE" ]; then options+=(--require="$REQUIRE"); fi
IFS=', ' read -ra numbers <<< "${TABLES//$'\n'/ }"
for number in "${numbers[@]}"; do options+=(--table="$number"); done
IFS=', ' read -ra words <<< "${FAIL_ON//$'\n'/ }"
for word in "${words[@]}"; do options+=(--fail-on="$word"); done

# Between the marks the runner takes no line for one of its commands, and names of files and texts of records may be such.
# They are all on one stream, so that they come in this order.
mark=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
status=0
echo "::stop-commands::$mark"
# -I: a directory named repro, or a file yaml.py, in the repository that is checked is not imported.
"$ENVIRONMENT/bin/python" -I -m repro verify "${options[@]}" 2>&1 || status=$?
echo "::$mark::"
if [ "$status" -le 1 ]; then
  echo "junit=$report" >> "$GITHUB_OUTPUT"
else
  echo "## Verification against the paper: ✗ nothing was verified, the log says why" >> "$GITHUB_STEP_SUMMARY"
fi
exit "$status"
