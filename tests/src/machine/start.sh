# Powers a machine on: PID 1 of its namespaces, up to the change of root. Arguments: NAME ADDRESS MAC PORT PLACE BASE ROOT.
# /proc is still the fleet's here: its process 1 stands for the fleet's network.
set -eu
name=$1 address=$2 mac=$3 port=$4 place=$5 base=$6 root=$7
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022

ip -batch - <<END
link add eth0 address $mac type veth peer name $port netns /proc/1/ns/net
link set lo up
link set eth0 addrgenmode none up
address add $address/16 dev eth0
END
nsenter --net=/proc/1/ns/net ip link set "$port" addrgenmode none master br0 up
hostname "$name"

new=$place/root
mount -t overlay overlay -o "lowerdir=$base/upper:$root,upperdir=$place/disk/upper,workdir=$place/disk/work" "$new"
mount -t proc -o nosuid,nodev,noexec proc "$new/proc"
# What the host shares with its machines in /proc must not be theirs to change.
mount --bind "$new/proc/sys" "$new/proc/sys"
mount -o remount,bind,ro "$new/proc/sys"
[ ! -e "$new/proc/sysrq-trigger" ] || mount --bind /dev/null "$new/proc/sysrq-trigger"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$new/sys"
mount -t tmpfs -o size=16m,mode=755,nosuid,nodev run "$new/run"
mount --bind "$place/log" "$new/var/log"

mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666,nosuid,noexec devpts "$new/dev/pts"
mount -t tmpfs -o size=8m,mode=1777,nosuid,nodev shm "$new/dev/shm"

[ ! -d "$place/seed" ] || mv "$place/seed" "$new/run/seed"
cp "$place/init" "$new/run/init"
mkdir "$new/run/old"
cd "$new"
pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old
# A machine may set its own name, accounts and network, never this host's clock or modules.
exec env -i PATH="$PATH" LANG=C.UTF-8 setpriv --bounding-set=-sys_time,-sys_module /bin/sh /run/init
