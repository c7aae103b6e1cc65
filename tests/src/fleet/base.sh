# Makes the layer between a distribution's root and the machines' own disks: masks what must not be seen, and makes the
# account ssh-admin by the distribution's own tools. Arguments: LAYER ROOT.
set -eu
layer=$1 root=$2
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022
mkdir -p "$layer/upper/var/spool" "$layer/work" "$layer/root"

# A whiteout hides the host's folder whole; making the folder anew below gives an empty, opaque one.
for seen in "$root"/* "$root"/.[!.]*; do
    name=${seen##*/}
    [ -e "$seen" ] || [ -L "$seen" ] || continue
    case $name in
        bin | sbin | lib | lib32 | lib64 | libx32 | usr | etc | var | opt) ;;
        *) mknod "$layer/upper/$name" c 0 0 ;;
    esac
done
for path in var/tmp var/log var/mail var/spool/cron var/lib/ssh-ca; do
    [ -e "$root/$path" ] || continue
    mkdir -p "$layer/upper/${path%/*}"
    mknod "$layer/upper/$path" c 0 0
done

mount -t overlay overlay -o "lowerdir=$root,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
cd "$layer/root"
mkdir -p boot dev home media mnt opt proc run srv sys var/log var/mail var/spool/cron/crontabs
mkdir -m 700 root
mkdir -m 1777 tmp var/tmp
chgrp mail var/mail && chmod 2775 var/mail
! grep -q '^crontab:' etc/group || { chgrp crontab var/spool/cron/crontabs && chmod 1730 var/spool/cron/crontabs; }
cp -a etc/skel/. root/
# The few devices that a server's programs use; terminals and shared memory are mounted at each boot.
mkdir dev/pts dev/shm
while read -r device major minor; do
    mknod -m 666 "dev/$device" c "$major" "$minor"
done <<'END'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
END
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr

# As the distribution ships it, whatever this host made of it.
# A configuration management of the host's is none of its machines'.
rm -rf usr/bin/ansible-pull usr/bin/puppet usr/bin/chef-client usr/bin/salt-minion opt/puppetlabs
rm -rf etc/ssh/ssh_host_* etc/ssh/ca etc/ssh/sshd_config.d etc/ssh/ssh_config.d etc/resolv.conf etc/hostname etc/hosts
mkdir etc/ssh/sshd_config.d etc/ssh/ssh_config.d
: >etc/resolv.conf
[ ! -f usr/share/openssh/sshd_config ] || cp usr/share/openssh/sshd_config etc/ssh/sshd_config
for seen in etc/sudoers.d/* etc/cron.d/* etc/cron.hourly/* etc/cron.daily/* etc/cron.weekly/* etc/cron.monthly/*; do
    [ ! -f "$seen" ] || rm -f "$seen"
done

awk -F: '$3 >= 1000 && $3 < 65000 { print $1 }' etc/passwd | while read -r name; do
    chroot . userdel --force "$name" >/dev/null 2>&1
done
chroot . useradd --create-home --shell /bin/bash ssh-admin
cd /
umount "$layer/root"
