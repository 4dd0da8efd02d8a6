# SPDX-License-Identifier: LGPL-2.1-or-later
# Puts the programs of examples/ in the place of "@include FILE" lines of a
# page, so that the page shows programs that the tests build and run. Tabs
# become blanks, because a page has tab stops of its own. A backslash is
# doubled: scdoc takes one for an escape, in literal text as well.
function expand(line,    at, blanks) {
	while ((at = index(line, "\t")) > 0) {
		blanks = substr("        ", 1, 8 - (at - 1) % 8)
		line = substr(line, 1, at - 1) blanks substr(line, at + 1)
	}
	return line
}

/^@include / {
	file = dir "/" $2
	while ((status = (getline line < file)) > 0) {
		if (line ~ /SPDX/)
			continue
		gsub(/\\/, "&&", line)
		print expand(line)
	}
	if (status < 0) {
		print file ": cannot be read" >"/dev/stderr"
		exit 1
	}
	close(file)
	next
}
{ print }
