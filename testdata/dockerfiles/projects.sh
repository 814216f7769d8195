# Makes the contexts of the projects, each in a directory of its name below the current one. $1: files of the monorepo.
set -eu
umask 022
mkdir scratch; echo hello >scratch/hello.txt
mkdir c; cd c
printf '#include "greet.h"\nint main(int count, char **words) { return greet(count > 1 ? words[1] : "nobody"); }\n' >main.c
printf 'int greet(const char *name);\n' >greet.h
printf '#include <stdio.h>\n#include "greet.h"\nint greet(const char *name) { return printf("hello %%s\\n", name) < 0; }\n' >greet.c
echo notes >notes.txt; cd ..
cp -r c c-objects; printf '*.txt\n' >c-objects/.dockerignore
mkdir -p packages/debs deb/DEBIAN deb/usr/bin deb/etc
printf '#!/bin/sh\necho greetings\n' >deb/usr/bin/greeting; chmod 755 deb/usr/bin/greeting; echo loud=no >deb/etc/greeting.conf
printf 'Package: greeting\nVersion: 1.2\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: says it\n' >deb/DEBIAN/control
echo /etc/greeting.conf >deb/DEBIAN/conffiles
SOURCE_DATE_EPOCH=1600000000 dpkg-deb --root-owner-group -b deb packages/debs/greeting.deb >/dev/null; rm -r deb
mkdir -p packages-first/src packages-first/node_modules/left; cd packages-first
printf '{"name": "server"}\n' >package.json; printf '{\n  "pad": "1.0.0",\n  "wrap": "2.1.0"\n}\n' >package-lock.json
echo 'require("pad")' >src/server.js; echo old >node_modules/left/index.js; mkdir .git; echo ref >.git/HEAD
printf 'node_modules\n.git\n**/*.log\n' >.dockerignore; echo log >src/x.log; cd ..
mkdir -p site/pages site/assets/img; printf '# Index\ntext\n' >site/pages/index.md; printf '# Other\n' >site/pages/other.md
head -c 5000 /dev/zero >site/assets/img/logo; ln -s img/logo site/assets/logo; cp -r site site-titled
mkdir monorepo; cd monorepo
awk -v files="$1" 'BEGIN {
    for (i = 0; i < files; i++) {
        dir = i % 4 == 0 ? "libs/lib-" i % 20 : "services/service-" i % 13 "/src/part-" i % 7
        if (!(dir in made)) { system("mkdir -p " dir); made[dir] = 1 }
        print "file " i > (dir "/f" i (i % 9 ? ".ts" : ".log")); close(dir "/f" i (i % 9 ? ".ts" : ".log"))
    }
}'
mkdir -p services/service-1/node_modules/x node_modules/y; echo n >services/service-1/node_modules/x/i; echo n >node_modules/y/i
echo keep >services/service-2/keep.log; printf '**/node_modules\n**/*.log\n!services/*/keep.log\nlibs/lib-8\n' >.dockerignore; cd ..
mkdir -p script/lib; printf 'package Greet; sub greet { return "hello $_[0]\\n" } 1;\n' >script/lib/Greet.pm
printf 'use strict; use Greet; print Greet::greet("perl");\n' >script/app.pl
mkdir entry; echo x >entry/x
find . -depth -exec touch -h -d @1600000000 {} +
