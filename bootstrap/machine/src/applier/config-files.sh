
# === sshd's own configuration files =============================================================================================

# The files of sshd's configuration, in the order in which they are read, into $W/config-files.
list_config_files() {
    echo "$SSHD_CONFIG" >"$W/config-files"
    for depth in 1 2 3; do
        : >"$W/more-files"
        while read -r file; do
            sed -n 's/^[[:space:]]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee][[:space:]]*=*[[:space:]]*//p' "$file" 2>/dev/null | tr '"\t' '  ' | tr ' ' '\n'
        done <"$W/config-files" >"$W/globs"
        while read -r glob; do
            case $glob in '') continue ;; /*) ;; *) glob=/etc/ssh/$glob ;; esac
            for file in $glob; do
                if [ -f "$file" ] && ! grep -qxF "$file" "$W/config-files" "$W/more-files"; then echo "$file" >>"$W/more-files"; fi
            done
        done <"$W/globs"
        [ -s "$W/more-files" ] || break
        cat "$W/more-files" >>"$W/config-files"
    done
}
