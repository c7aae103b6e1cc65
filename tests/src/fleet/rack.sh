# PID 1 of a fleet: owns the network that the machines hang on, and the place of their disks. Arguments: PLACE.
# It ends when its standard input does, which is when the test process is gone; the kernel then ends everything below it.
set -eu
place=$1
trap '' INT TERM HUP QUIT
mount --make-rprivate /
mkdir -p "$place"
mount -t tmpfs -o size=2g,mode=755 rack "$place"
ip link set lo up
ip link add br0 type bridge
ip link set br0 addrgenmode none
ip address add 10.77.0.1/16 dev br0
ip link set br0 up
echo ready
while read -r _; do :; done
