#!/bin/sh
# Make the secret files that compose.yml mounts, once: sh docker/make-secrets.sh
#
# Containers read them as users of their own, so the files are readable, and the folder, which
# containers never see, is closed to everybody else on this machine.
set -eu

folder="$(dirname "$0")/secrets"
if [ -e "$folder" ]; then
    echo "$folder is there already; nothing was changed." >&2
    exit 1
fi

random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

umask 022
mkdir -m 700 "$folder"
postgres="$(random)"
redis="$(random)"
printf '%s' "$(random)$(random)" >"$folder/secret_key"
printf '%s' "$postgres" >"$folder/postgres_password"
printf 'postgresql://podium:%s@postgres:5432/podium' "$postgres" >"$folder/database_url"
printf 'redis://podium:%s@redis:6379/0' "$redis" >"$folder/redis_url"
# The client library releases its locks by short scripts: these three commands and no other scripting.
locks="+evalsha +script|load +script|exists"
# Whoever has no password may ask whether Redis is there, and nothing else.
{
    echo "user default on nopass resetkeys resetchannels -@all +ping"
    echo "user podium on >$redis allkeys allchannels +@all -@dangerous -@scripting $locks"
} >"$folder/redis_acl"
chmod 444 "$folder"/*
echo "Made: $folder"
