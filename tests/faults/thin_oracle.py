#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""thin_oracle.py XML VOLUME=ANSWERS...: compares answers of known-layers, in
files, with the mappings of thin volumes that thin_dump has written to XML.
Fails unless exactly the unmapped blocks are known to be zeros.
"""
import sys
import xml.etree.ElementTree as ElementTree

SECTOR = 512


def mapped_blocks(root, volume):
    blocks = set()
    device = root.find(f"./device[@dev_id='{volume}']")
    for mapping in device:
        if mapping.tag == 'single_mapping':
            blocks.add(int(mapping.get('origin_block')))
        else:
            begin = int(mapping.get('origin_begin'))
            blocks.update(range(begin, begin + int(mapping.get('length'))))
    return blocks


def unknown_blocks(path, block):
    blocks = set()
    at = 0
    for line in open(path):
        kind, off, length = line.split()
        assert int(off) == at, f'an answer at {off} follows {at}'
        at += int(length)
        if kind == 'unknown':
            blocks.update(range(int(off) // block, -(-at // block)))
    return blocks


def compare(root, volume, path):
    block = int(root.get('data_block_size')) * SECTOR
    mapped = mapped_blocks(root, volume)
    unknown = unknown_blocks(path, block)
    print(f'{len(mapped)} blocks of volume {volume} are mapped')
    if mapped - unknown:
        sys.exit(f'mapped, but claimed to be zero: {sorted(mapped - unknown)}')
    if unknown - mapped:
        sys.exit(f'unmapped, but not known: {sorted(unknown - mapped)}')
    if not mapped:
        sys.exit('nothing is mapped')


def main():
    root = ElementTree.parse(sys.argv[1]).getroot()
    for argument in sys.argv[2:]:
        compare(root, *argument.split('=', 1))


main()
