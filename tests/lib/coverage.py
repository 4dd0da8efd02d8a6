#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
coverage.py SRC BUILD [MACHINES]: prints the share of lines that have run, by
folder, and the files with the most lines that have not, out of what gcc's
--coverage counted in BUILD, and in virtual machines, which left their counts in
the folder MACHINES (see vm). The lines themselves are in BUILD/coverage.html.
"""
import collections
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile


def add_machines(build, machines):
    """Adds their counts to those in build, once."""
    for counts in glob.glob(os.path.join(machines, '*', 'counts')):
        with tempfile.TemporaryDirectory() as merged:
            subprocess.run(
                ['gcov-tool', 'merge', '-o', merged, build, counts + build],
                check=True, stdout=subprocess.DEVNULL)
            for folder, _, names in os.walk(merged):
                for name in names:
                    path = os.path.join(folder, name)
                    # The content alone: other users write to these files.
                    shutil.copyfile(path, os.path.join(
                        build, os.path.relpath(path, merged)))
        shutil.rmtree(os.path.dirname(counts))


def totals(src, build):
    """Of each file: lines, and lines that ran."""
    out = os.path.join(build, 'coverage.json')
    subprocess.run(
        ['gcovr', '-r', src, '--object-directory', build, '-j', '2',
         '-f', 'src/', '-f', 'fuse/', '-f', 'tools/', '-f', 'include/',
         '--exclude-throw-branches', '--exclude-unreachable-branches',
         '--json-summary', out,
         '--html-details', os.path.join(build, 'coverage.html')],
        check=True, stdout=subprocess.DEVNULL, cwd=src)
    with open(out, encoding='utf-8') as file:
        for entry in json.load(file)['files']:
            yield (entry['filename'], entry['line_total'],
                   entry['line_covered'])


def line(name, total, covered):
    share = 100 * covered / total if total else 100
    print(f'{share:5.1f} %  {covered:5} of {total:5}  {name}')


def main():
    src, build = sys.argv[1:3]
    for machines in sys.argv[3:]:
        add_machines(build, machines)
    files = list(totals(src, build))
    folders = collections.defaultdict(lambda: [0, 0])
    for name, total, covered in files:
        for folder in (os.path.dirname(name), 'all'):
            folders[folder][0] += total
            folders[folder][1] += covered
    print('Lines that ran, by folder:')
    for name in sorted(folders, key=lambda name: (name == 'all', name)):
        line(name, *folders[name])
    print('Files with the most lines that did not:')
    files.sort(key=lambda entry: entry[2] - entry[1])
    for name, total, covered in files[:15]:
        line(name, total, covered)


if __name__ == '__main__':
    main()
