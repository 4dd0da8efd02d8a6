#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# map --plot and the formats svg and png: on terminals of all kinds and widths;
# valid files with the totals of --summary; partitions and file systems.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires python3 xmllint file sfdisk mkfs.ext4 jq

cd "$TEST_TMP"
unset COLUMNS NO_COLOR

# A disk with partitions, one of them with a file system, and an unused end.
truncate -s 256M disk
sfdisk -q disk <<'END'
label: gpt
size=20M, name="first part"
size=100M
size=50M
END
# start NUMBER: where a partition begins, bytes.
start() {
	echo $(($(sfdisk -J disk |
		jq ".partitiontable.partitions[$1 - 1].start") * 512))
}
mkfs.ext4 -q -L 'a<&>b' -E offset="$(start 2)" disk 100M
filled $((10 << 20))
dd if="$FILLED" of=disk bs=1M seek="$(start 3)" oflag=seek_bytes \
	conv=notrunc status=none
: >empty
truncate -s 1T nothing
printf x >byte
# Blocks that are not written yet may be data or a hole.
sync disk byte

# widest FILE: the columns of its longest line.
widest() {
	wc -L <"$1"
}

say "widths"
for width in {20..200}; do
	COLUMNS=$width map --plot disk >plot
	assert_le "$(widest plot)" "$width" "columns of a plot for $width"
	grep -q total plot
done
map --plot disk >plot
assert_le "$(widest plot)" 80 "columns in a pipe"
assert_ge "$(widest plot)" 70 "columns in a pipe"
for COLUMNS in 0 -5 x 99999999999; do
	COLUMNS=$COLUMNS map --plot disk >other
	assert_same_bytes other plot
done
unset COLUMNS

say "the same as --format=plot"
map --format=plot disk >other
assert_same_bytes other plot

say "the totals of --summary"
for file in disk empty nothing byte; do
	map --plot "$file" >plot
	map --summary "$file" >summary
	grep -E '^(data|hole|unknown|total) ' plot >totals
	assert_same_bytes totals summary
	map --format=svg "$file" >svg
	xmllint --noout svg
	xmllint --xpath '//*[local-name()="text"]/text()' svg >texts
	# All but the name and the bytes, which the summary has besides.
	while read -r name _ size unit share rest; do
		grep -qxF "$name" texts
		for text in "$size $unit" "$share" "$rest"; do
			[[ -z $text ]] || grep -qxF "$text" texts ||
				fail "the legend of $file lacks '$text'"
		done
	done <summary
done

say "encodings"
map --plot disk >plot
grep -q '█' plot
for locale in LC_ALL=C LC_ALL=POSIX LC_ALL=xx_YY.UTF-8 "LC_ALL= LC_CTYPE=C LANG="; do
	# shellcheck disable=SC2086 # words
	env $locale "$TOOL" map --plot disk >ascii
	LC_ALL=C grep -q '[^ -~]' ascii && fail "$locale: not only ASCII"
	assert_eq "$(widest ascii)" "$(widest plot)" "columns in $locale"
	grep -q '#####' ascii
done
assert_lacks "$(<plot)" $'\e' "a plot in a pipe"

say "colours"
# terminal COLUMNS VARIABLE=VALUE...: map --plot on a terminal of that width.
terminal() {
	python3 - "$TOOL" "$@" <<'PY'
import fcntl, os, pty, struct, subprocess, sys, termios
tool, columns, *variables = sys.argv[1:]
ours, theirs = pty.openpty()
fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, int(columns), 0, 0))
child = subprocess.Popen(["env", "TERM=xterm", *variables, tool, "map", "--plot",
                          "disk"], stdout=theirs)
os.close(theirs)
seen = b""
try:
    while more := os.read(ours, 4096):
        seen += more
except OSError:
    pass  # the other end is closed
assert child.wait() == 0
sys.stdout.buffer.write(seen.replace(b"\r\n", b"\n"))
PY
}
terminal 80 >coloured
assert_contains "$(<coloured)" $'\e[38;5;33m' "a plot on a terminal"
sed 's/\x1b\[[0-9;]*m//g' coloured >bare
assert_same_bytes bare plot
for variable in NO_COLOR=1 NO_COLOR=no TERM=dumb TERM=; do
	terminal 80 "$variable" >bare
	assert_same_bytes bare plot
done
terminal 80 NO_COLOR= >empty-variable
assert_same_bytes empty-variable coloured
for width in 30 120; do
	terminal "$width" NO_COLOR=1 >plot
	COLUMNS=$width map --plot disk >other
	assert_same_bytes plot other
	terminal 80 NO_COLOR=1 COLUMNS="$width" >plot
	assert_same_bytes plot other
done

say "names do nothing to a terminal or to XML"
name=$'a\e[31m<b> &\nc'
cp --sparse=always disk "$name"
map --plot "$name" >plot
assert_lacks "$(<plot)" $'\e' "a plot"
assert_eq "$(head -n 1 plot | cut -c1-14)" "a?[31m<b> &?c " "the name"
map --format=svg "$name" >svg
xmllint --noout svg
xmllint --xpath '//*[local-name()="text"]/text()' svg | head -n 1 >texts
grep -E '^a\?\[31m(<|&lt;)b(>|&gt;) (&amp;|&)\?c$' texts

say "partitions and file systems"
if grep -q "libblkid" <(ldd "$TOOL"); then
	map --plot disk >plot
	grep -E '^ 1 .* "first part"$' plot
	grep -E '^ 2 .* ext4 "a<&>b"$' plot
	grep -E '^ 3 +50\.0 MiB +at 121\.0 MiB +20\.0% data$' plot
	map --format=svg disk >svg
	xmllint --xpath '//*[local-name()="text"]/text()' svg >texts
	grep -qF 'ext4 "a&lt;&amp;>b"' texts || grep -qF 'ext4 "a<&>b"' texts ||
		grep -qF 'ext4 "a&lt;&amp;&gt;b"' texts
	grep -qx 'Partitions' texts
	mkfs.ext4 -q -L whole whole 20M
	map --plot whole >plot
	grep -E '^all +20\.0 MiB .* ext4 "whole"$' plot
	say "on a device, of which a scan finds the zeros"
	if ((EUID == 0)) && losetup -f >/dev/null 2>&1; then
		loop_new "$PWD/disk"
		map --plot "$LOOP" >plot
		grep -E '^ 2 .* ext4 "a<&>b"$' plot
	fi
else
	map --plot disk >plot
	assert_eq "$(grep -c ' at ' plot)" 0 "marks without libblkid"
fi

say "png"
if map --format=png disk >png 2>err; then
	assert_contains "$(file png)" "PNG image data, 1920 x " "the file"
	size=$(map --format=svg disk |
		xmllint --xpath 'string(/*/@height)' -)
	assert_contains "$(file png)" "1920 x $((size * 2)), 8-bit/color" "size"
	# The whole file can be decoded: its lines are as long as they should be.
	python3 - png <<'PY'
import struct, sys, zlib
data = open(sys.argv[1], "rb").read()
assert data[:8] == b"\x89PNG\r\n\x1a\n"
at, pixels, last = 8, b"", None
while at < len(data):
    size, kind = struct.unpack(">I4s", data[at:at + 8])
    body = data[at + 8:at + 8 + size]
    assert zlib.crc32(kind + body) == struct.unpack(
        ">I", data[at + 8 + size:at + 12 + size])[0]
    if kind == b"IHDR":
        width, height = struct.unpack(">II", body[:8])
    if kind == b"IDAT":
        pixels += body
    at, last = at + 12 + size, kind
assert last == b"IEND"
assert len(zlib.decompress(pixels)) == height * (1 + width * 3)
PY
	say "without the library of cairo"
	mkdir broken
	echo >broken/libcairo.so.2
	run_status env LD_LIBRARY_PATH="$PWD/broken" "$TOOL" map --format=png disk
	assert_eq "$STATUS" 2 "status"
	assert_contains "$ERR" "png needs cairo, which cannot be loaded" "message"
	run_status env LD_LIBRARY_PATH="$PWD/broken" "$TOOL" map --format=svg disk
	assert_eq "$STATUS" 0 "status of svg"
	say "not on a terminal"
	python3 - "$TOOL" >out <<'PY'
import os, pty, sys
status = pty.spawn([sys.argv[1], "map", "--format=png", "disk"])
sys.exit(os.waitstatus_to_exitcode(status) != 2)
PY
	assert_contains "$(<out)" "a PNG file does not go to a terminal" "message"
else
	assert_contains "$(<err)" "png needs cairo" "message"
fi

say "pictures of a million extents need no more memory than those of one"
python3 - <<'PY'
import os
fd = os.open("many", os.O_RDWR | os.O_CREAT)
for i in range(100_000):
    os.pwrite(fd, b"x", i * 8192)
PY
assert_ge "$(map --format=json many | grep -c '"start"')" 190000 "extents"
# memory FILE FORMAT: KiB.
memory() {
	python3 - "$TOOL" "$@" <<'PY'
import resource, subprocess, sys
tool, file, form = sys.argv[1:]
subprocess.run([tool, "map", "--format=" + form, file], check=True,
               stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
PY
}
for format in plot svg; do
	assert_le "$(memory many "$format")" $(($(memory disk "$format") + 3000)) \
		"KiB of $format"
done

say "wrong uses"
for format in plot svg; do
	run_status map --format="$format" --summary disk
	assert_eq "$STATUS" 2 "status of --summary with $format"
done
run_status map --plot missing
assert_eq "$STATUS" 1 "status for a missing file"
assert_eq "$OUT" "" "its report"
for format in plot svg; do
	# shellcheck disable=SC2016 # for bash
	run_status bash -c '"$0" map --format=$1 disk >/dev/full' "$TOOL" "$format"
	assert_eq "$STATUS" 1 "status when the disk is full"
	assert_contains "$ERR" "standard output: No space" "message"
done
