# Functions of the scripts that run in the bed: a program whose console is typed at and read.
fail() { echo "FAIL: $1"; tail -40 "$2"; exit 1; }

# wait_for FILE PATTERN SECONDS
wait_for() {
    i=0
    until grep -q "$2" "$1" 2>/dev/null; do
        i=$((i + 1))
        [ $i -le $(($3 * 5)) ] || fail "no $2 in $3 s" "$1"
        [ ! -e "${1%.log}.status" ] || grep -q "$2" "$1" || fail "ended before $2" "$1"
        sleep 0.2
    done
}

# start NAME COMMAND...: what is written to fd 3 is typed at its console; its output is in NAME.log, its status in
# NAME.status.
start() {
    name=$1
    shift
    rm -f $name.in $name.status
    mkfifo $name.in
    ("$@" <$name.in >$name.log 2>&1; echo $? >$name.status) &
    exec 3>$name.in
}
finish() {
    wait_for $1.log "$2" 60
    exec 3>&-
    wait_for $1.status . 30
    [ "$(cat $1.status)" = 0 ] || fail "$1 ended with $(cat $1.status)" $1.log
}
