# Makes the context of the cases in the current directory. All times are given, so that layers depend on nothing else.
set -eu
umask 022
echo a >a.txt; echo b >b.txt; echo hidden >.hidden; printf '#!/bin/sh\necho run\n' >run.sh; chmod 755 run.sh
echo s >setuid; chmod 6755 setuid; echo g >setgid; chmod 2644 setgid; : >empty; echo '[x]' >'[x]'; echo ü >ü
mkdir -p d/sub/deep e/x 'with space' g1 g2; echo f >d/f; echo g >d/sub/g; echo h >d/sub/deep/h; ln d/f d/hard; ln -s f d/link
ln -s nowhere d/dangling; ln -s /a.txt d/absolute; mkfifo d/fifo; chmod 2775 d/sub; chmod 700 d/sub/deep
echo 1 >e/x/1; echo two >'with space/a b'; echo g1 >g1/f; echo g2 >g2/f
ln -s a.txt lnk; ln -s d ldir; ln -s ../../../etc/passwd out; ln -s nowhere dangling
mkdir -p ignored/keep; echo i >ignored/i; echo k >ignored/keep/k; echo x >x.log; mkdir logs; echo y >logs/y.log
printf '*.log\nignored\n!ignored/keep\n**/y.*\n' >.dockerignore
mkdir tree; echo t >tree/t; chmod 4755 tree/t; mkdir tree/sub; ln -s t tree/l; ln tree/t tree/hard; : >tree/.wh.gone
pack() { tar --format=pax --sort=name --owner=12 --group=34 --mtime=@1000000000 -C tree -cf - . ; }
pack >t.tar; pack | gzip -n >t.tgz; pack | bzip2 >t.tbz; pack | xz >t.txz; echo plain | gzip -n >plain.gz; pack | gzip -n >named.txt
pack | zstd -q >t.tzst; pack | zstd -q >named.zst
rm -r tree
mkdir -p p/a/b/c p/node_modules/m p/a/node_modules/m p/lib p/none; chmod 711 p/a/b
for f in x.txt y.md .dot a/x.txt a/y.md a/b/x.txt a/b/c/x.txt a/b/c/y.md node_modules/m/i.js a/node_modules/m/i.js 'lib/z[1]' 'lib/!x' 'lib/#x'; do
    echo "$f" >"p/$f"
done
ln -s a p/l; ln -s ../x.txt p/a/up
find . -depth -exec touch -h -d @1600000000 {} +
