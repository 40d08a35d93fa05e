#!/usr/bin/env bash
# Chromium for the browser tests: installed when we may and it is missing; without it they skip.
set -u
for name in chromium chromium-browser google-chrome; do
  command -v "$name" > /dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  echo "Installing Chromium for the browser tests …"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } > /dev/null && exit 0
fi
echo "No Chromium: the browser tests will be skipped."
[ "${PODIUM_REQUIRE_SERVICES:-}" != 1 ]
