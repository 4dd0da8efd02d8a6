#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lists the requests to a SCSI disk, from a kernel trace on standard input.

  requests.py OPERATION...

The trace has events scsi_dispatch_cmd_start, and must not have lost any. Prints
the requests of these kinds as lines "KIND FROM TO" in sectors, sorted, adjacent
and overlapping ones merged. The kinds are read, write, same (WRITE SAME),
same-unmap (WRITE SAME with its bit UNMAP) and unmap.
"""
import re
import sys

COMMAND = re.compile(r"cmnd=\((\w+) (.*)raw=")
NUMBER = re.compile(r"(\w+)=(\d+)")


def request(line):
    """Returns (kind, from, to), or None for a command without data."""
    found = COMMAND.search(line)
    if not found:
        return None
    name, rest = found.groups()
    values = {key: int(value) for key, value in NUMBER.findall(rest)}
    if name.startswith("WRITE_SAME"):
        kind = "same-unmap" if values["unmap"] else "same"
    elif name.startswith("READ_CAPACITY"):
        return None
    elif name.startswith(("READ_", "WRITE_")):
        kind = name.split("_")[0].lower()
    elif name == "UNMAP":
        return "unmap", 0, 0  # its ranges are not in the trace
    else:
        return None
    return kind, values["lba"], values["lba"] + values["txlen"]


def main():
    wanted = sys.argv[1:]
    seen = []
    for line in sys.stdin:
        lost = re.search(r"entries-in-buffer/entries-written: (\d+)/(\d+)", line)
        if "LOST" in line or (lost and lost[1] != lost[2]):
            raise SystemExit("the trace lost events")
        found = request(line)
        if found and found[0] in wanted:
            seen.append(found)
    merged = []
    for kind, start, end in sorted(seen):
        if merged and merged[-1][0] == kind and start <= merged[-1][2]:
            merged[-1][2] = max(end, merged[-1][2])
        else:
            merged.append([kind, start, end])
    for line in merged:
        print(*line)


if __name__ == "__main__":
    main()
