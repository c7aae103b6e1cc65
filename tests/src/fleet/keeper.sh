# Clears up after a fleet, also when its test process was killed. Runs inside the fleet's network namespace, so that the
# namespace's number cannot come to mean another one. Arguments: FOLDER NETWORK (as in "net:[4026531840]").
set -u
folder=$1 network=$2
trap '' INT TERM HUP QUIT
echo ready
while read -r _; do :; done

# What still runs in the fleet's own network was started through the fleet. (To find, brackets are a pattern.)
number=${network#*[}
number=${number%]}
rounds=0
while [ "$rounds" -lt 50 ]; do
    rounds=$((rounds + 1))
    left=no
    for seen in $(find /proc -maxdepth 3 -path '/proc/[0-9]*/ns/net' -lname "net:?$number?" 2>/dev/null); do
        pid=${seen#/proc/}
        pid=${pid%%/*}
        [ "$pid" != "$$" ] || continue
        [ "$(readlink "$seen" 2>/dev/null)" = "$network" ] || continue
        kill -9 "$pid" 2>/dev/null && left=yes
    done
    [ "$left" = yes ] || break
done
rm -rf -- "$folder"
