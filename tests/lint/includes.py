#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
includes.py [ROOT]: fails if an #include of the tree breaks its layering.

The layers of src/ point down only (see ALLOWED); fuse/ and tools/ are programs
that use the library through its headers alone; nothing includes round in a
circle. A module is a .c file with the .h file of its name: it may not depend on
a module that depends on it, be it through others, except for the pairs in KNOWN.

Prints a line "file:line: what, and how to mend it" for each fault. Exits 1 if
there is one.
"""
import os
import re
import sys

# The folders of src/, and those that each may include besides itself.
ALLOWED = {
    'src/base': set(),
    'src/device': {'src/base'},
    'src/sparse': {'src/base', 'src/device'},
    'src/stream': {'src/base'},
    'src/transfer': {'src/base', 'src/device', 'src/sparse', 'src/stream'},
    'src/report': {'src/base'},
    'fuse': set(),
    'tools': set(),
    'include': set(),
}
# Single files that a folder may include besides.
ALSO = {
    'tools': {'fuse/startup.h'},
}
# Pairs of modules in which the .c file of one needs the other, and the other
# needs its header. Headers alone never include each other.
KNOWN = {
    # The object starts and ends its parts, which work on the object.
    ('src/sparse/sparse', 'src/sparse/scan'),
    ('src/sparse/sparse', 'src/sparse/scan-ahead'),
    ('src/sparse/sparse', 'src/sparse/writeback'),
}
# All may include the headers of the library.
HEADERS = 'include'

INCLUDE = re.compile(r'\s*#\s*include\s*(["<])([^">]+)[">]')


def folder_of(path):
    return os.path.dirname(path)


def module_of(path):
    return os.path.splitext(path)[0]


class Tree:
    def __init__(self, root):
        self.root = root
        self.faults = []
        self.edges = {}  # module: {module it includes: "file:line"}
        self.headers = {}  # the same of single headers
        self.files = sorted(self.find())

    def find(self):
        for top in ('include', 'src', 'fuse', 'tools'):
            for folder, _, names in os.walk(os.path.join(self.root, top)):
                for name in names:
                    if name.endswith(('.c', '.h')):
                        path = os.path.join(folder, name)
                        yield os.path.relpath(path, self.root)

    def fault(self, where, text):
        self.faults.append(f'{where}: {text}')

    def resolve(self, path, kind, name):
        """The file of the tree that is included; None: it is the system's."""
        places = [HEADERS, 'src']
        if kind == '"':
            places.insert(0, folder_of(path))
        for place in places:
            target = os.path.normpath(os.path.join(place, name))
            if os.path.isfile(os.path.join(self.root, target)):
                return target
        return None

    def check_include(self, path, where, kind, name):
        target = self.resolve(path, kind, name)
        if target is None:
            if kind == '"':
                self.fault(where, f'"{name}" is not in the tree: '
                           'write <> around a header of the system')
            return
        here, there = folder_of(path), folder_of(target)
        if here not in ALLOWED:
            self.fault(where, f'{here} has no place in the layers: '
                       'add it to ALLOWED in tests/lint/includes.py')
            return
        if here.startswith('src/') and there.startswith('src/') and \
                f'src/{name}' != target:
            self.fault(where, f'write the path from src/: '
                       f'"{target.removeprefix("src/")}"')
        if there not in (here, HEADERS) and there not in ALLOWED[here] and \
                target not in ALSO.get(here, ()):
            may = sorted(ALLOWED[here] | {HEADERS, here})
            self.fault(where, f'{here} must not include {target}, '
                       f'only files of {", ".join(may)}')
        if path.endswith('.h'):
            self.headers.setdefault(path, {}).setdefault(target, where)
        if module_of(path) != module_of(target):
            self.edges.setdefault(module_of(path), {}).setdefault(
                module_of(target), where)

    def check_file(self, path):
        with open(os.path.join(self.root, path), encoding='utf-8') as file:
            for number, line in enumerate(file, 1):
                match = INCLUDE.match(line)
                if match:
                    self.check_include(path, f'{path}:{number}',
                                       match.group(1), match.group(2))

    def check_circles(self, edges):
        """Each circle once: by depth first, from the first in order."""
        done, trail = set(), []

        def visit(node):
            if node in trail:
                circle = trail[trail.index(node):] + [node]
                self.fault(edges[circle[-2]][node],
                           'includes round in a circle: '
                           + ' -> '.join(circle)
                           + ': let one of them do without the other')
                return
            if node in done:
                return
            trail.append(node)
            for target in sorted(edges.get(node, ())):
                visit(target)
            trail.pop()
            done.add(node)

        for node in sorted(edges):
            visit(node)

    def drop_known(self):
        """Without the edges back of the pairs in KNOWN that the tree has."""
        modules = {module_of(path) for path in self.files}
        for one, other in sorted(KNOWN):
            if one in self.edges.get(other, ()) and \
                    other in self.edges.get(one, ()):
                del self.edges[other][one]
            elif {one, other} <= modules:
                self.fault('tests/lint/includes.py:1',
                           f'{one} and {other} need each other no more: '
                           'take them out of KNOWN')

    def check(self):
        for path in self.files:
            self.check_file(path)
        self.check_circles(self.headers)
        if not self.faults:
            self.drop_known()
            self.check_circles(self.edges)
        return self.faults


def main():
    tree = Tree(sys.argv[1] if len(sys.argv) > 1 else '.')
    for fault in tree.check():
        print(fault)
    if not tree.files:
        print('includes.py: there are no C files here', file=sys.stderr)
    return 1 if tree.faults or not tree.files else 0


if __name__ == '__main__':
    sys.exit(main())
