# PID 1 of a machine: what a distribution's init does at boot, as far as an sshd and a cron need it.
set -eu
umask 022
seed=/run/seed
name=$(uname -n)

# First boot: what an installer would have done. Everything of the seed is data in files.
if [ -d "$seed" ]; then
    printf '%s\n' "$name" >/etc/hostname
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost ip6-localhost\n10.77.0.1 ca.corp.example\n' "$name" >/etc/hosts
    read -r uuid </proc/sys/kernel/random/uuid
    (IFS=- && set -- $uuid && printf '%s' "$@" && echo) >/etc/machine-id
    for kind in ed25519 ecdsa; do
        ssh-keygen -q -t "$kind" -N '' -C "root@$name" -f "/etc/ssh/ssh_host_${kind}_key"
    done
    if [ -e "$seed/root-only" ]; then
        userdel --remove ssh-admin 2>/dev/null
        account=root home=/root
    else
        account=ssh-admin home=/home/ssh-admin
    fi
    if [ -s "$seed/keys" ]; then
        mkdir -m 700 "$home/.ssh"
        cp "$seed/keys" "$home/.ssh/authorized_keys"
        chmod 600 "$home/.ssh/authorized_keys"
        chown -R "$account:" "$home/.ssh"
    fi
    if [ -e "$seed/password" ]; then
        { printf '%s:' "$account"; cat "$seed/password"; } | chpasswd
    fi
    if [ -e "$seed/sudoers" ]; then
        cp "$seed/sudoers" /etc/sudoers.d/ssh-admin
        chmod 440 /etc/sudoers.d/ssh-admin
    fi
    if [ -e "$seed/sshd_config" ]; then
        cp "$seed/sshd_config" /etc/ssh/sshd_config.d/50-site.conf
    fi
    if [ -e "$seed/clock" ]; then
        cp "$seed/clock" /etc/pool-clock
    fi
    : >/var/log/wtmp >/var/log/btmp >/var/log/lastlog
    chgrp utmp /var/log/wtmp /var/log/btmp /var/log/lastlog
    chmod 664 /var/log/wtmp /var/log/btmp /var/log/lastlog
    rm -rf "$seed"
else
    # /tmp is on the disk and emptied at each boot, as on Debian 12.
    find /tmp -mindepth 1 -delete
fi

# As systemd-tmpfiles does at each boot.
mkdir -p /run/sshd /run/lock /run/user
: >/run/utmp
chgrp utmp /run/utmp && chmod 664 /run/utmp

# A clock that is off, for sshd and what it starts by itself: seconds as "+7200" or "-60".
clock=
if [ -e /etc/pool-clock ]; then
    read -r offset </etc/pool-clock
    for library in /usr/lib/*/faketime/libfaketime.so.1; do
        clock="LD_PRELOAD=$library FAKETIME=${offset}s FAKETIME_DONT_FAKE_MONOTONIC=1"
    done
fi

set +e
# shellcheck disable=SC2086 # words on purpose
env $clock /usr/sbin/sshd -D -E /var/log/sshd.log -o LogLevel=VERBOSE &
if [ -x /usr/sbin/cron ]; then /usr/sbin/cron -f & fi
sleep infinity &
# Reaps what its daemons leave behind. sshd is not started again when it dies: nor does Debian before the next boot or an order.
while :; do wait; done
