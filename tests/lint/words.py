#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
words.py FILE...: fails if a text is not written in plain words.

A sentence names the actor (reader, writer, caller, scan thread, kernel, device),
gives it an active verb, and keeps the usual order of words. A script finds only
the plainest breaches of that: see RULES. Looked at are the comments and strings
of code, and all of a page or another text.

Prints a line "file:line: what, and how to mend it" for each. Exits 1 if there
is one. A line that quotes such a word on
purpose says so by "words: quoted" in it, or in the line above.
"""
import re
import sys

PEOPLE = ('user|users|person|people|administrator|administrators|developer|'
          'developers|maintainer|maintainers|someone|anyone|newcomer|everyone')

# Breaches and how to mend them. SENTENCE_RULES match from a sentence's begin.
RULES = [
    (re.compile(r'\bwho(?:ever|m)?\b', re.I),
     'name the actor: reader, writer, caller, thread, kernel, device'),
    (re.compile(r'\b(?:some|any|every|no)body\b', re.I),
     'name the actor: reader, writer, caller, thread, kernel, device'),
]
SENTENCE_RULES = [
    (re.compile(r'What(?:ever)?\b(?![^.]*\?)'),
     'begin the sentence with a noun, not with a clause'),
    (re.compile(r'That (?:it|they|he|all|no|none|an?|the|there|this|such)\b'),
     'begin the sentence with its subject, not with a clause'),
    (re.compile(r'Where (?:\w+ ){1,6}(?:are|is) (?:the|a|it)\b(?![^.]*,)'),
     'keep the usual order of words'),
]
QUOTED = 'words: quoted'

C_TOKEN = re.compile(
    r'/\*(?P<block>.*?)\*/|//(?P<line>[^\n]*)|"(?P<string>(?:\\.|[^"\\\n])*)"'
    r"|'(?:\\.|[^'\\\n])*'", re.S)
SCRIPT_TOKEN = re.compile(
    r'(?:^|(?<=\s))#(?P<line>[^\n]*)|"(?P<string>(?:\\.|[^"\\])*)"'
    r"|'(?P<single>[^'\n]*)'", re.M)
PYTHON_TOKEN = re.compile(
    r'#(?P<line>[^\n]*)|"""(?P<block>.*?)"""|"(?P<string>(?:\\.|[^"\\\n])*)"'
    r"|'(?P<single>(?:\\.|[^'\\\n])*)'", re.S)


def pieces(path, text):
    """Yields (offset, is comment, text) of the prose in a file."""
    if path.endswith(('.c', '.h')):
        token = C_TOKEN
    elif path.endswith('.py'):
        token = PYTHON_TOKEN
    elif path.endswith(('.md', '.scd')):
        for match in re.finditer(r'(?:[^\n]+\n?)+', text):
            yield match.start(), True, match.group()
        return
    else:
        token = SCRIPT_TOKEN
    run = None  # comments that follow each other line by line are one
    for match in token.finditer(text):
        groups = match.groupdict()
        kind = match.lastgroup
        if kind is None:
            continue
        start, body = match.start(kind), groups[kind]
        if kind == 'line':
            if run and text[run[0] + len(run[1]):start].strip(' \t\n/#') == '' \
                    and text.count('\n', run[0] + len(run[1]), start) <= 1:
                run = (run[0], text[run[0]:start] + body)
                continue
            if run:
                yield run[0], True, run[1]
            run = (start, body)
            continue
        if run:
            yield run[0], True, run[1]
            run = None
        yield start, kind == 'block', body
    if run:
        yield run[0], True, run[1]


def sentences(body):
    """Offsets at which a sentence begins."""
    for match in re.finditer(
            r'(?:^|[.!?:;]["\')]*\s|\n[\s*#/]*\n|\n\s*[-*|]\s)[\s*#/|-]*(?=\w)',
            body):
        yield match.end()


def check(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        text = file.read()
    lines = text.split('\n')
    faults = set()

    def fault(offset, word, how):
        line = text.count('\n', 0, offset)
        if QUOTED in lines[line] or (line and QUOTED in lines[line - 1]):
            return
        faults.add((line + 1, ' '.join(word.split()), how))

    for start, comment, body in pieces(path, text):
        for pattern, how in RULES:
            for match in pattern.finditer(body):
                before = body[:match.start()].rstrip(' \t\n*#/').lower()
                if re.search(rf'\b(?:{PEOPLE}),?$', before):
                    continue
                # A user is called that.
                if match.group() == 'nobody' and (
                        not comment or re.search(r'\bas$|\buser$', before)):
                    continue
                fault(start + match.start(), match.group(), how)
        if not comment:
            continue
        for at in sentences(body):
            if body.startswith('#', body.rfind('\n', 0, at) + 1) and \
                    path.endswith(('.md', '.scd')):
                continue  # a heading
            for pattern, how in SENTENCE_RULES:
                match = pattern.match(body, at)
                if match:
                    fault(start + at, match.group(), how)
    return sorted(faults)


def main():
    wrong = 0
    for path in sys.argv[1:]:
        for line, word, how in check(path):
            print(f'{path}:{line}: "{word}": {how}')
            wrong = 1
    return wrong


if __name__ == '__main__':
    sys.exit(main())
