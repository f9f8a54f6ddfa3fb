#!/bin/sh
# Brings up this host's Docker engine, an image without a registry, a network, and the containers. Written by kchaos for its lab.
set -eu

log=/var/log/dockerd.log
cd /

setsid dockerd --data-root /var/lib/docker --exec-root /run/docker --pidfile /run/docker.pid -H unix:///run/docker.sock \
    --cgroup-parent "/@CGROUP@" --exec-opt native.cgroupdriver=cgroupfs --storage-driver overlay2 </dev/null >>"$log" 2>&1 &
engine=$!
turn=0
until docker version >/dev/null 2>&1; do
    turn=$((turn + 1))
    if [ $turn -gt 300 ] || ! kill -0 "$engine" 2>/dev/null; then
        echo "the Docker engine did not come up; the end of its log:" >&2
        tail -n 15 "$log" >&2
        exit 1
    fi
    sleep 0.2
done

image=$(mktemp -d)
(
    cd "$image"
    mkdir -p usr etc opt var/lib var/log tmp run proc sys dev root
    chmod 1777 tmp
    for name in bin sbin lib lib32 lib64 libx32; do
        [ ! -L "/$name" ] || cp -P "/$name" .
    done
    tar -c .
) | docker import - kchaos-lab >/dev/null
rm -rf "$image"
docker network create --subnet 172.30.99.0/24 kchaos >/dev/null

# NAME PUBLISHED:INSIDE DATA_DIRECTORY LOG_DIRECTORY COMMAND...
start() {
    name=$1 ports=$2 data=$3 logs=$4
    shift 4
    docker run --detach --name "$name" --hostname "$name" --network kchaos --publish "$ports" --restart unless-stopped --stop-timeout 25 \
        --volume /usr:/usr:ro --volume /etc:/etc:ro --volume /opt:/opt:ro --volume "$data:$data" --volume "$logs:$logs" \
        --env LC_ALL=C.UTF-8 kchaos-lab "$@" >/dev/null
}

