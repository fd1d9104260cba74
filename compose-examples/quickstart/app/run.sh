# Runs a program of this folder with the machine's python3, or says plainly that there is none.
command -v python3 >/dev/null || {
    echo "this example runs on the machine's own python3, and there is none in $PATH: install python3 and try again" >&2
    exit 69
}
exec python3 "$@"
