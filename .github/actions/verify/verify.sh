#!/usr/bin/env bash
# Verifies $RESULTS with the interpreter of $ENVIRONMENT: a report below $TEMPORARY, a summary for the page of the job, and
# the exit code of `repro verify`. Lists in $TABLES and $FAIL_ON are divided by spaces, commas or lines.
set -euo pipefail
report=$(mktemp -d "$TEMPORARY/gcnet-repro-verify.XXXXXX")/verify.xml
options=(--results="$RESULTS" --junit="$report" --summary="$GITHUB_STEP_SUMMARY" --require="$REQUIRE")
IFS=', ' read -ra numbers <<< "${TABLES//$'\n'/ }"
for number in "${numbers[@]}"; do options+=(--table="$number"); done
IFS=', ' read -ra words <<< "${FAIL_ON//$'\n'/ }"
for word in "${words[@]}"; do options+=(--fail-on="$word"); done

# -I: a directory named repro, or a file yaml.py, in the repository that is checked is not imported.
status=0
"$ENVIRONMENT/bin/python" -I -m repro verify "${options[@]}" || status=$?
if [ "$status" -le 1 ]; then
  echo "junit=$report" >> "$GITHUB_OUTPUT"
else
  echo "## Verification against the paper: ✗ nothing was verified, the log says why" >> "$GITHUB_STEP_SUMMARY"
fi
exit "$status"
