
# === accounts ====================================================================================================================
# $STATE/accounts/NAME says that the CA has to do with an account: `UID ORIGIN made|making fresh|kept` (its home).

GECOS_OF_OURS='SSH certificate authority'

# Sets of account $1: entry (empty where there is none), has_uid, has_shell, has_gecos, has_home.
look_up() {
    entry=$(grep "^$1:" /etc/passwd || getent passwd "$1")
    set -f
    old_ifs=$IFS
    IFS=:
    # shellcheck disable=SC2086 # fields on purpose
    set -- $entry
    IFS=$old_ifs
    set +f
    has_uid=${3-} has_gecos=${5-} has_home=${6-} has_shell=${7-}
}

marker_of() {
    marked_uid='' marked_origin='' marked_state='' marked_home=kept
    if [ -s "$STATE/accounts/$1" ]; then
        read -r marked_uid marked_origin marked_state marked_home <"$STATE/accounts/$1"
    fi
}

expiry_of() { awk -F: -v name="$1" '$1 == name { print $8 }' /etc/shadow; }

# Decides for each account what is to be done, before anything is: `CHANGE NAME UID ORIGIN STATE SHELL GROUPS GECOS` in $W/account-plan.
# An account that stood here before is never taken over silently (H5).
plan_accounts() {
    : >"$W/account-plan"
    while read -r name uid origin state shell groups gecos; do
        [ "$gecos" != - ] || gecos=
        look_up "$name"
        marker_of "$name"
        change=
        if [ "$state" != active ]; then
            plan_departure
        elif [ -z "$entry" ]; then
            [ "$origin" != adopted ] || refuse account-exists "the account $name is to be adopted, but does not exist here"
            if [ "$origin" = made ]; then
                holder=$(getent passwd "$uid" | cut -d: -f1)
                [ -z "$holder" ] || refuse account-exists "uid $uid is to be $name's, but $holder has it here"
                if [ "$marked_state" != making ] && grep -q "^$name:" /etc/group; then
                    refuse account-exists "the account $name cannot be made: a group of that name stands here already"
                fi
                # Whoever owns it would decide what the new account's shell runs.
                if [ "$marked_state" != making ] && ! home_is_free "$name" "$uid"; then
                    refuse account-exists "the account $name cannot be made: /home/$name stands here already and is not uid $uid's; move it away"
                fi
            fi
            change=made
        elif [ "$marked_state" = making ] && [ "$marked_uid" = "$has_uid" ]; then
            # A run was killed while it made this one: nobody has used it yet.
            change=made
        elif [ "$origin" = system ]; then
            [ -n "$marked_uid" ] || [ "$has_gecos" = "$GECOS_OF_OURS" ] ||
                refuse account-exists "the account $name exists here and is not the CA's own; rename it first"
        elif [ "$origin" = adopted ]; then
            [ -n "$marked_uid" ] || change=adopted
        else
            [ "$marked_uid" = "$has_uid" ] && [ "$marked_origin" = made ] ||
                refuse account-exists "the account $name exists here and the CA did not make it; add it with --adopt $name, or choose another name"
            [ "$has_uid" = "$uid" ] || refuse account-exists "the account $name has uid $has_uid here, where the CA says $uid"
        fi
        if [ -z "$change" ] && [ "$state" = active ]; then
            if [ "$(expiry_of "$name")" = 1 ]; then
                change=reopened
            elif [ "$origin" != adopted ] && { [ "$has_shell" != "$shell" ] || [ "$has_gecos" != "$gecos" ]; }; then
                change=updated
            elif [ "$origin" != system ] && groups_differ; then
                change=updated
            fi
        fi
        [ -z "$change" ] || echo "$change $name $uid $origin $state $shell $groups ${gecos:--}" >>"$W/account-plan"
    done <"$W/accounts-wanted"
    plan_forgotten
}

# Whether there is no home for account $1 yet, or one that uid $2 owns.
home_is_free() {
    [ ! -L "/home/$1" ] || return 1
    [ ! -e "/home/$1" ] || [ "$(stat -c %u "/home/$1")" = "$2" ]
}

plan_departure() {
    if [ -z "$entry" ]; then return; fi
    # Somebody's own account of that name is not the CA's to end.
    [ -n "$marked_uid" ] && [ "$marked_origin" != system ] || return 0
    if [ "$state" = purged ]; then
        change=purged
    elif [ "$(expiry_of "$name")" != 1 ]; then
        change=expired
    fi
}

# An account that the CA made and no longer names would fall back to its own authorized_keys: it is expired. One that it adopted is
# given back.
plan_forgotten() {
    for marker in "$STATE"/accounts/*; do
        name=${marker##*/}
        if [ ! -f "$marker" ] || grep -q "^$name " "$W/accounts-wanted"; then continue; fi
        marker_of "$name"
        look_up "$name"
        if [ "$marked_origin" = adopted ]; then
            echo "given-back $name - adopted active - - -" >>"$W/account-plan"
        elif [ -n "$entry" ] && [ "$marked_origin" = made ] && [ "$(expiry_of "$name")" != 1 ]; then
            echo "expired $name - made expired - - -" >>"$W/account-plan"
        fi
    done
}

# The wanted groups that this machine has, sorted, with commas.
known_groups() {
    [ "$groups" != - ] || return 0
    echo "$groups" | tr , '\n' | while read -r group; do
        if grep -q "^$group:" /etc/group || getent group "$group" >/dev/null; then echo "$group"; fi
    done | sort | paste -sd, -
}

groups_differ() {
    has=$(awk -F: -v name="$name" '{ n = split($4, m, ","); for (i = 1; i <= n; i++) if (m[i] == name) print $1 }' /etc/group | sort | paste -sd, -)
    if [ "$origin" = adopted ]; then
        for group in $(known_groups | tr , ' '); do
            case ",$has," in *",$group,"*) ;; *) return 0 ;; esac
        done
        return 1
    fi
    [ "$has" != "$(known_groups)" ]
}

report_accounts() {
    while read -r change name _; do
        printf '{"step":"account","name":"%s","change":"%s"}\n' "$name" "$change"
    done <"$W/account-plan"
}

mark() { # NAME UID ORIGIN STATE HOME
    mkdir -p -m 700 "$STATE/accounts" && echo "$2 $3 $4 $5" | write_whole "$STATE/accounts/$1" 600
}

# Does what was planned. An account is never opened to anybody here: that takes a principals file, a key file, and sshd's word.
apply_accounts() {
    while read -r change name uid origin state shell groups gecos; do
        [ "$gecos" != - ] || gecos=
        : >"$W/words"
        marker_of "$name"
        case $change in
        made) make_account ;;
        adopted) look_up "$name" && mark "$name" "$has_uid" adopted made kept && set_groups ;;
        reopened) set_expiry "$name" '' && update_account ;;
        updated) update_account ;;
        expired) expire_account ;;
        purged) expire_account && purge_account ;;
        given-back) rm -f "$STATE/accounts/$name" ;;
        esac || {
            failure="the account $name could not be $change: $(head -c 300 "$W/words")"
            return 1
        }
        printf '{"step":"account","name":"%s","change":"%s"}\n' "$name" "$change"
    done <"$W/account-plan"
}

make_account() {
    look_up "$name"
    if [ -n "$entry" ]; then
        # Half made: away with it, and with a home that only the tools have filled.
        delete_account keep-home || return 1
        case $marked_home$has_home in fresh/home/?*) rm -rf "$has_home" ;; esac
    fi
    if [ "$marked_state" != making ] && [ ! -e "/home/$name" ]; then marked_home=fresh; fi
    if [ "$origin" = system ]; then
        mark "$name" - system making kept || return 1
        if have useradd; then
            useradd -r -M -d / -s "$shell" -c "$gecos" -p '*' "$name" 2>"$W/words" || return 1
        else
            adduser -S -D -H -h / -s "$shell" -g "$gecos" "$name" 2>"$W/words" && no_password || return 1
        fi
    else
        mark "$name" "$uid" made making "$marked_home" || return 1
        if have useradd; then
            # Left behind where a run was killed between the two files.
            group_left=$(awk -F: -v name="$name" '$1 == name { print $1 }' /etc/group)
            # shellcheck disable=SC2086 # two words or none
            useradd -u "$uid" -m -s "$shell" -c "$gecos" -p '*' ${group_left:+-N -g $group_left} "$name" 2>"$W/words" || return 1
        else
            adduser -D -u "$uid" -s "$shell" -g "$gecos" "$name" 2>"$W/words" && no_password || return 1
        fi
        set_groups || return 1
    fi
    look_up "$name"
    [ -n "$entry" ] && [ -n "$(awk -F: -v name="$name" '$1 == name { print "there" }' /etc/shadow)" ] || return 1
    mark "$name" "$has_uid" "$origin" made kept
}

# Locked with `*`: `!` keeps a sshd without PAM from letting a certificate in.
no_password() { echo "$name:*" | chpasswd -e 2>"$W/words"; }

set_groups() {
    wanted=$(known_groups)
    for group in $(echo "$groups" | tr , ' '); do
        case ",$wanted,-," in *",$group,"*) ;; *) warning no-group "the group $group, for $name, does not exist on this machine" ;; esac
    done
    if have usermod; then
        if [ "$origin" = adopted ]; then
            [ -z "$wanted" ] || usermod -a -G "$wanted" "$name" 2>"$W/words"
        else
            usermod -G "$wanted" "$name" 2>"$W/words"
        fi
        return
    fi
    for group in $(echo "$wanted" | tr , ' '); do
        addgroup "$name" "$group" 2>"$W/words" || return 1
    done
}

update_account() {
    if [ "$origin" != adopted ]; then
        if have usermod; then
            usermod -s "$shell" -c "$gecos" "$name" 2>"$W/words" || return 1
        else
            warning not-updated "shell and name of $name stay as they are: this machine has no usermod"
        fi
    fi
    [ "$origin" = system ] || set_groups
}

set_expiry() { # NAME DAY
    if have usermod; then
        usermod -e "$2" "$1" 2>"$W/words"
    else
        awk -F: -v OFS=: -v name="$1" -v day="$2" '$1 == name { $8 = day } { print }' /etc/shadow >"$W/shadow" &&
            write_whole /etc/shadow "$(stat -c %a /etc/shadow)" <"$W/shadow"
    fi
}

# Expired for every door that asks PAM, its processes ended, its crontab put aside, its home kept.
expire_account() {
    set_expiry "$name" 1 || return 1
    look_up "$name"
    for crontab in "/var/spool/cron/crontabs/$name" "/var/spool/cron/$name" "/etc/crontabs/$name"; do
        if [ -f "$crontab" ]; then
            mkdir -p -m 700 "$STATE/crontabs" && mv -f "$crontab" "$STATE/crontabs/$name" || return 1
        fi
    done
    end_processes "$has_uid"
}

# Twice, since a process may start another while it is being ended.
end_processes() {
    is_number "$1" && [ "$1" -gt 0 ] || return 0
    # At one stroke and by the kernel: what forks faster than it can be listed would outlive everything below.
    if have setpriv; then setpriv --reuid "$1" --clear-groups -- sh -c 'kill -s KILL -- -1' >/dev/null 2>&1; fi
    for round in 1 2 3; do
        victims=$(grep -HE '^Uid:' /proc/[0-9]*/status 2>/dev/null |
            awk -v uid="$1" '$2 == uid || $3 == uid || $4 == uid { split($1, path, "/"); print path[3] }')
        [ -n "$victims" ] || return 0
        # shellcheck disable=SC2086 # words on purpose
        kill -KILL $victims 2>/dev/null
        [ "$round" -eq 3 ] || sleep 0.1 2>/dev/null || sleep 1
    done
}

delete_account() { # keep-home|with-home|in-use
    if have userdel; then
        case $1 in
        with-home) userdel -r "$name" 2>"$W/words" ;;
        in-use) userdel -f "$name" 2>"$W/words" ;;
        *) userdel "$name" 2>"$W/words" ;;
        esac
        # 12: the home could not be removed, as where there is none.
        case $? in 0 | 12) ;; *) return 1 ;; esac
    elif [ "$1" = with-home ]; then
        deluser --remove-home "$name" 2>"$W/words"
    else
        deluser "$name" 2>"$W/words"
    fi
}

purge_account() {
    if [ "$marked_origin" = adopted ]; then
        warning not-purged "the account $name was adopted, not made, so it is expired but not deleted"
        return 0
    fi
    delete_account with-home && rm -f "$STATE/accounts/$name"
}
