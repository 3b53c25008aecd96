#!/bin/sh
# Creates a virtual environment, or accepts the one that is there: create_environment.sh PYTHON FOLDER
set -eu
python=$1
folder=$2

if [ -x "$folder/bin/python" ] && "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$folder/bin/python
fi

if ! command -v "$python" >/dev/null 2>&1; then
    echo "There is no '$python' here; name a Python from 3.10 to 3.12, for example: make PYTHON=python3.11 env" >&2
    exit 1
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case "$version" in
3.10 | 3.11 | 3.12) ;;
*)
    echo "'$python' is Python $version; SuperResolution needs 3.10, 3.11 or 3.12: make PYTHON=python3.11 env" >&2
    exit 1
    ;;
esac

if [ "$python" = "$folder/bin/python" ]; then
    exit 0
fi

# Debian and Ubuntu keep ensurepip in a package of its own.
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Installing python$version-venv"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "python$version-venv" >/dev/null
    else
        echo "'$python' cannot create environments: install the package python$version-venv and try again." >&2
        exit 1
    fi
fi

echo "Creating $folder with Python $version"
rm -rf "$folder"
"$python" -m venv "$folder"
