#!/usr/bin/env bash
# A throw-away SLURM on this host, for tests: two nodes of one core each, no systemd, no cgroups.
#   tests/servers/slurm.sh start [DIR]   prints the path of slurm.conf, for $CPFLOW_TEST_SLURM
#   tests/servers/slurm.sh stop [DIR]
# Needs root and the programs (Debian: apt-get install --no-install-recommends slurmctld slurmd
# slurm-client munge slurm-wlm-basic-plugins). DIR is by default one temporary directory per
# checkout. Tests set SLURM_CONF to what is printed.
set -euo pipefail

NODES=2 CORES=1 MEMORY=6000

for program in slurmctld slurmd sbatch munged; do
    command -v "$program" >/dev/null || PATH=$PATH:/usr/sbin
    command -v "$program" >/dev/null || {
        echo "no $program: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge slurm-wlm-basic-plugins" >&2
        exit 1
    }
done

free_ports() {
    python3 - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))
PYTHON
}

running() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

stop() {
    export SLURM_CONF=$dir/slurm.conf
    local pid
    if running "$(cat "$dir/run/slurmctld.pid" 2>/dev/null)"; then
        timeout 10 scancel --me >/dev/null 2>&1 || true
        for _ in $(seq 20); do
            [ -n "$(timeout 5 squeue --noheader 2>/dev/null || true)" ] || break
            sleep 0.5
        done
    fi
    for file in "$dir"/run/slurmd-*.pid "$dir/run/slurmctld.pid" "$dir/run/munged.pid"; do
        pid=$(cat "$file" 2>/dev/null || true)
        running "$pid" || continue
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 40); do
            running "$pid" || break
            sleep 0.25
        done
        ! running "$pid" || kill -KILL "$pid" 2>/dev/null || true
    done
    # Not the whole directory: somebody may have named one of his own.
    rm -rf "$dir/ctld" "$dir/spool" "$dir/log" "$dir/run" "$dir/slurm.conf"
    rmdir "$dir" 2>/dev/null || true
}

configure() {
    local host port
    host=$(hostname -s)
    read -r -a port <<<"$(free_ports $((NODES + 1)))"
    cat >"$dir/slurm.conf" <<CONF
ClusterName=cpflow
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/run/munge.socket,cred_expire=15
SlurmctldPort=${port[0]}
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd-%n.pid
SlurmdSpoolDir=$dir/spool/%n
StateSaveLocation=$dir/ctld
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
MpiDefault=none
PropagateResourceLimits=NONE
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
OverTimeLimit=0
MinJobAge=300
CONF
    for i in $(seq "$NODES"); do
        mkdir -p "$dir/spool/n$i"
        echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=${port[i]} CPUs=$CORES Boards=1 SocketsPerBoard=1 CoresPerSocket=$CORES ThreadsPerCore=1 RealMemory=$MEMORY State=UNKNOWN"
    done >>"$dir/slurm.conf"
    echo "PartitionName=debug Nodes=ALL Default=YES MaxTime=01:00:00 State=UP OverSubscribe=NO" >>"$dir/slurm.conf"
}

start() {
    stop # what an interrupted run left behind
    mkdir -p "$dir"/{ctld,log,run,spool}
    chmod 0755 "$dir" "$dir/run"
    configure
    export SLURM_CONF=$dir/slurm.conf
    # A key and a socket of its own: nothing of /etc/munge is used.
    (umask 077 && dd if=/dev/urandom of="$dir/run/munge.key" bs=1024 count=1 status=none)
    munged --force --key-file="$dir/run/munge.key" --socket="$dir/run/munge.socket" \
        --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log" \
        --seed-file="$dir/run/munged.seed" >>"$dir/log/start.log" 2>&1
    slurmctld -c -f "$SLURM_CONF" >>"$dir/log/start.log" 2>&1
    for i in $(seq "$NODES"); do slurmd -N "n$i" -f "$SLURM_CONF" >>"$dir/log/start.log" 2>&1; done
    for _ in $(seq 120); do
        [ "$(sinfo -h -N -o '%T' 2>/dev/null | grep -c '^idle$' || true)" != "$NODES" ] || {
            echo "$SLURM_CONF"
            return
        }
        sleep 0.5
    done
    tail -n 20 "$dir"/log/*.log >&2
    stop
    exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
dir=${2:-${TMPDIR:-/tmp}/cpflow-slurm-$(id -u)-$(printf %s "$here" | cksum | cut -d' ' -f1)}
case "${1:-}" in
start) start ;;
stop) stop ;;
*)
    echo "usage: $0 start|stop [DIR]" >&2
    exit 2
    ;;
esac
