# Fills the machine's disk up to so many KiB. Arguments: KIB_LEFT.
set -eu
dd if=/dev/zero of=/.ballast bs=64k 2>/dev/null || :
dd if=/dev/zero of=/.ballast bs=4k oflag=append conv=notrunc 2>/dev/null || :
[ "$1" -eq 0 ] || truncate -s "-${1}K" /.ballast
left=$(($(stat -f -c '%a * %S / 1024' /)))
[ "$left" -le "$(($1 + 4))" ] || { echo "there are still $left KiB" >&2; exit 1; }
