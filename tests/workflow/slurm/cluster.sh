#!/usr/bin/env bash
# A real Slurm of one node on the loopback address, with two GPUs that are not there: for tests, as root.
#   cluster.sh start DIR | restart DIR (the controller, keeping its jobs) | stop DIR
# Debian's packages; no systemd, no database, no cgroups. Stops only what it started, by its pid files.
set -euo pipefail
act=$1 dir=$2 host=$(hostname -s)

until_ok() { for _ in $(seq 100); do "$@" > /dev/null 2>&1 && return; sleep 0.2; done; echo "gave up: $*" >&2; return 1; }

end() {
  for file in "$@"; do
    [ -s "$dir/$file" ] || continue
    pid=$(cat "$dir/$file")
    kill "$pid" 2> /dev/null || true
    for _ in $(seq 50); do kill -0 "$pid" 2> /dev/null || break; sleep 0.1; done
  done
}

install() {
  command -v slurmctld slurmd munged > /dev/null && return
  apt-get update -qq > /dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    slurmctld slurmd slurm-client munge > /dev/null
}

configure() {
  mkdir -p "$dir"/{state,spool,log}
  mkdir -p -m 700 "$dir/munge"
  getent hosts "$host" | grep -q '^127\.' || echo "127.0.0.1 $host" >> /etc/hosts
  [ -s "$dir/munge/key" ] || (umask 077; head -c 128 /dev/urandom > "$dir/munge/key")
  # Less memory than slurmd finds, or it drains the node.
  read -r cpus memory < <(slurmd -C | sed -nE 's/.*CPUs=([0-9]+).*RealMemory=([0-9]+).*/\1 \2/p')
  for gpu in 0 1; do [ -c "$dir/nvidia$gpu" ] || mknod "$dir/nvidia$gpu" c 1 3; done
  echo "NodeName=$host Name=gpu File=$dir/nvidia[0-1] Flags=nvidia_gpu_env" > "$dir/gres.conf"
  cat > "$dir/slurm.conf" << CONF
ClusterName=kvbench
SlurmctldHost=$host(127.0.0.1)
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort=46917
SlurmdPort=46918
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/sock/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=3
MinJobAge=300
MpiDefault=none
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$((memory * 9 / 10)) Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE PriorityTier=1 State=UP
PartitionName=urgent Nodes=$host MaxTime=INFINITE PriorityTier=10 State=UP
CONF
  # Where Slurm looks by itself: Snakemake's job steps drop SLURM_CONF from their environment.
  mkdir -p /etc/slurm
  for file in slurm.conf gres.conf; do
    [ ! -e "/etc/slurm/$file" ] || [ -L "/etc/slurm/$file" ] || { echo "/etc/slurm/$file is not mine" >&2; exit 1; }
    ln -sfn "$dir/$file" "/etc/slurm/$file"
  done
}

case $act in
  start)
    install
    configure
    mkdir -p -m 755 "$dir/sock"
    munged --force --key-file="$dir/munge/key" --socket="$dir/sock/munge" --pid-file="$dir/munged.pid" \
      --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
    until_ok munge -n -S "$dir/sock/munge"
    slurmctld -c
    slurmd
    until_ok sh -c 'sinfo -h -o %T | grep -q idle'
    ;;
  restart)
    end slurmctld.pid
    sleep "${3:-1}"
    slurmctld
    until_ok scontrol ping
    ;;
  stop)
    end slurmd.pid slurmctld.pid munged.pid
    for file in slurm.conf gres.conf; do
      [ "$(readlink "/etc/slurm/$file")" = "$dir/$file" ] && rm "/etc/slurm/$file"
    done
    ;;
esac
