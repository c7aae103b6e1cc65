# Makes a machine's disk and its log disk inside the fleet. Arguments: PLACE SEED DISK_MIB.
set -eu
place=$1 seed=$2 disk_mib=$3
mkdir -p "$place/disk" "$place/log" "$place/root"
mount -t tmpfs -o "size=${disk_mib}m,mode=755" disk "$place/disk"
mkdir "$place/disk/upper" "$place/disk/work"
# Logs have a disk of their own, as on many servers: a full or read-only root still tells why it refuses.
mount -t tmpfs -o size=16m,mode=755 log "$place/log"
mv "$seed" "$place/seed"
