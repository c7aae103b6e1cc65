#!/bin/sh
# Records, as root, whose certificate opened an ssh connection. pam_exec runs it from sshd's privileged process.
# It must never stand in the way of a login: whatever fails, it ends well.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 077
[ "${PAM_SERVICE-}" = sshd ] || exit 0
sessions=/run/ssh-ca/sessions
case ${PAM_TYPE-} in
close_session)
    rm -f "$sessions/$PPID"
    exit 0
    ;;
open_session) ;;
*) exit 0 ;;
esac
[ -d "$sessions" ] || mkdir -p "$sessions" 2>/dev/null || exit 0
read -r stat <"/proc/$PPID/stat" || exit 0
stat=${stat##*) }
# shellcheck disable=SC2086 # words on purpose
set -- $stat
shift 19
{
    printf 'started %s\n' "$1"
    printf 'account %s\n' "${PAM_USER-}"
    printf 'peer %s\n' "${PAM_RHOST-}"
    printf '%s\n' "${SSH_AUTH_INFO_0-}"
} >"$sessions/.new.$PPID" 2>/dev/null && mv -f "$sessions/.new.$PPID" "$sessions/$PPID" 2>/dev/null
exit 0
