#!/usr/bin/env bash
# Verifies $RESULTS with the interpreter of $ENVIRONMENT: a report in $JUNIT, a summary for the page of the job, and the
# exit code of `repro verify`. Lists in $TABLES and $FAIL_ON are divided by spaces, commas or lines.
set -euo pipefail
options=(--results="$RESULTS" --junit="$JUNIT" --summary="$GITHUB_STEP_SUMMARY" --require="$REQUIRE")
IFS=', ' read -ra numbers <<< "${TABLES//$'\n'/ }"
for number in "${numbers[@]}"; do options+=(--table="$number"); done
IFS=', ' read -ra words <<< "${FAIL_ON//$'\n'/ }"
for word in "${words[@]}"; do options+=(--fail-on="$word"); done
echo "junit=$JUNIT" >> "$GITHUB_OUTPUT"
# -I: a directory named repro, or a file yaml.py, in the repository that is checked is not imported.
exec "$ENVIRONMENT/bin/python" -I -m repro verify "${options[@]}"
