"""A tar writer that puts down exactly the headers it is told to.

No tar program writes all the forms the goldens need (raw Latin-1 names beside PAX ones, GNU
and PAX long names in one file, implied parents), so headers are made here. Same bytes each run.
"""
T = 1700000000


def number(value, width):
    """Octal if it fits, else base-256 as GNU tar does."""
    text = b"%0*o\0" % (width - 1, value)
    return text if len(text) == width else b"\x80" + value.to_bytes(width - 1, "big")


class Layer:
    def __init__(self):
        self.out = bytearray()

    def raw(self, name, kind, mode, uid, gid, size, mtime, link=b"", dev=(0, 0), prefix=b"",
            magic=b"ustar\x0000"):
        assert len(name) <= 100 and len(link) <= 100 and len(prefix) <= 155, name
        head = (name.ljust(100, b"\0") + number(mode, 8) + number(uid, 8) + number(gid, 8)
                + number(size, 12) + number(mtime, 12) + b" " * 8 + kind
                + link.ljust(100, b"\0") + magic + b"\0" * 64
                + number(dev[0], 8) + number(dev[1], 8) + prefix.ljust(155, b"\0")
                ).ljust(512, b"\0")
        self.out += head[:148] + b"%06o\0 " % sum(head) + head[156:]

    def body(self, data):
        self.out += data + b"\0" * (-len(data) % 512)

    def pax(self, records, kind=b"x", name=b"PaxHeaders.0/x"):
        text = b""
        for key, value in records.items():
            value = value if isinstance(value, bytes) else str(value).encode()
            rest = b" " + key.encode() + b"=" + value + b"\n"
            length = len(rest) + 1
            while len(b"%d" % length) + len(rest) != length:
                length += 1
            text += b"%d" % length + rest
        self.raw(name, kind, 0o644, 0, 0, len(text), 0)
        self.body(text)

    def gnu_long(self, kind, value):
        self.raw(b"././@LongLink", kind, 0, 0, 0, len(value) + 1, 0, magic=b"ustar  \0")
        self.body(value + b"\0")

    def add(self, name, data=b"", kind=None, mode=0o644, uid=0, gid=0, mtime=T, link=b"",
            dev=(0, 0), prefix=b"", pax=None, gnu=False):
        name = name if isinstance(name, bytes) else name.encode()
        link = link if isinstance(link, bytes) else link.encode()
        kind = kind or (b"5" if name.endswith(b"/") else b"2" if link else b"0")
        mode = 0o755 if kind == b"5" and mode == 0o644 else 0o777 if kind == b"2" else mode
        pax = dict(pax or {})
        for limit_of, value in ((b"L", name), (b"K", link)):
            if len(value) > 100 and gnu:
                self.gnu_long(limit_of, value)
            elif len(value) > 100:
                pax["path" if limit_of == b"L" else "linkpath"] = value
        if pax:
            self.pax(pax)
        self.raw(name[:100], kind, mode, uid, gid, len(data), mtime, link[:100], dev, prefix,
                 b"ustar  \0" if gnu else b"ustar\x0000")
        self.body(data)

    def done(self, blocking=1024):
        self.out += b"\0" * 1024
        return bytes(self.out + b"\0" * (-len(self.out) % blocking))
