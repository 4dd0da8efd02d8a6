# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Functions for the tests of blksparse stat; source lib/common.sh first.

# figure NAME PATH: prints a member of the one file at that path, in JSON.
figure() {
	"$TOOL" stat --json "$2" | jq -c ".mounts[0].files[0].$1"
}

# figures PATH NAME=VALUE...: asserts each of them.
figures() {
	local path=$1 pair all
	shift
	all=$("$TOOL" stat --json "$path") || fail "stat of $path: status $?"
	for pair; do
		assert_eq "$(jq -c ".mounts[0].files[0].${pair%%=*}" <<<"$all")" \
			"${pair#*=}" "${pair%%=*} of ${path##*/}"
	done
}

# ioctl INDEX PATH [NUMBER]: asks by ioctl itself; prints the name and the device,
# or the errno. NUMBER is that of another ioctl.
ioctl() {
	python3 - "$@" <<-'END'
		import errno, fcntl, os, sys
		index, path = int(sys.argv[1]), sys.argv[2]
		number = int(sys.argv[3], 0) if len(sys.argv) > 3 else \
		    3 << 30 | 4096 << 16 | 0xb5 << 8
		buf = bytearray(4096)
		buf[4:8] = index.to_bytes(4, sys.byteorder)
		fd = os.open(path, os.O_RDONLY)
		try:
		    fcntl.ioctl(fd, number, buf)
		    text = lambda at: bytes(buf[at:]).split(b"\0")[0].decode()
		    print(text(248), text(504))
		except OSError as error:
		    print(errno.errorcode[error.errno])
	END
}
