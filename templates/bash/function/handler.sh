#!/usr/bin/env bash
# The body is on standard input, the answer goes to standard output; what goes to standard error is logged.
# An exit code other than 0 is answered with 500. Http_Method, Http_Path, Http_Query and Http_* say the rest.
set -euo pipefail

name=$(cat)
echo "hello ${name:-world}"
