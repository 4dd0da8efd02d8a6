#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prints what a shell offers to complete a line with, one a line.

  shells.py bash|fish|zsh COMPLETION PROGRAM LINE

COMPLETION is the file with the completion of PROGRAM, which is in PATH.
"""
import os
import pty
import select
import subprocess
import sys
import tempfile
import time

BASH = r"""
source "$1"
line=$2
# The words as readline splits them, with "=" as a word of its own.
spaced=${line//=/ = }
read -ra COMP_WORDS <<<"$spaced"
[[ $line != *' ' ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
"_${COMP_WORDS[0]}" "${COMP_WORDS[0]}"
printf '%s\n' "${COMPREPLY[@]}"
"""
READY, DONE = "ready>", "<done>"


def bash(completion, _program, line):
    return subprocess.run(["bash", "-c", BASH, "bash", completion, line],
                          check=True, capture_output=True,
                          text=True).stdout.split("\n")


def fish(completion, _program, line):
    out = subprocess.run(
        ["fish", "--no-config", "-c", 'source $argv[1]; complete -C "$argv[2]"',
         completion, line], check=True, capture_output=True, text=True).stdout
    return [word.split("\t")[0] for word in out.split("\n")]


class Terminal:
    """zsh completes only on a terminal."""

    def __init__(self, command, environment):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(environment)
            os.execvp(command[0], command)
        self.seen = ""

    def send(self, text):
        os.write(self.fd, text.encode())

    def wait_for(self, text):
        """Returns all before TEXT."""
        end = time.monotonic() + 60
        while text not in self.seen:
            if time.monotonic() > end:
                raise SystemExit(f"zsh does not print {text}: {self.seen}")
            if select.select([self.fd], [], [], 1)[0]:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
        before, _, self.seen = self.seen.partition(text)
        return before


# The list of matches is printed by a widget of its own.
ZSH = f"""
fpath=(DIRECTORY $fpath)
autoload -U compinit && compinit -u -D
compadd() {{
	local -a found
	builtin compadd -O found "$@"
	(( ! $#found )) || print -rl -- $found >>$OFFERED
	builtin compadd "$@"
}}
offered() {{
	: >$OFFERED
	zle complete-word
	print -r -- "DO""NE"
}}
zle -N offered
zle -C complete-word complete-word _main_complete
bindkey '^T' offered
unsetopt auto_menu
PS1=rea''dy\\>
"""


def zsh(completion, program, line):
    with tempfile.TemporaryDirectory() as where:
        offered = f"{where}/offered"
        os.symlink(os.path.abspath(completion), f"{where}/_{program}")
        with open(f"{where}/start", "w", encoding="utf-8") as start:
            start.write(ZSH.replace("DIRECTORY", where)
                        .replace("DO", DONE[:3]).replace("NE", DONE[3:]))
        shell = Terminal(["zsh", "-f", "-i"],
                         {"OFFERED": offered, "TERM": "dumb", "COLUMNS": "300"})
        shell.send(f"source {where}/start\n")
        shell.wait_for(READY)
        shell.send(f"{line}\x14")
        shell.wait_for(DONE)
        os.kill(shell.pid, 9)
        os.waitpid(shell.pid, 0)
        with open(offered, encoding="utf-8") as found:
            return found.read().split("\n")


def main():
    words = {"bash": bash, "fish": fish, "zsh": zsh}[sys.argv[1]](*sys.argv[2:])
    print("\n".join(sorted({word.strip() for word in words if word.strip()})))


if __name__ == "__main__":
    main()
