// Opens each database that is named with bbolt for writing, prints all that is in it as JSON lines, runs bbolt's own
// check, then changes the database and runs the check again: bbolt has to be able to go on with what we wrote.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o bbolt-check check.go
//
// (Debian: golang-go golang-github-coreos-bbolt-dev)
package main

import (
	"encoding/hex"
	"fmt"
	"log"
	"os"

	bolt "go.etcd.io/bbolt"
)

func show(bucket *bolt.Bucket, depth int) error {
	return bucket.ForEach(func(key, value []byte) error {
		if value != nil {
			fmt.Printf("%d %s = %s\n", depth, hex.EncodeToString(key), hex.EncodeToString(value))
			return nil
		}
		inner := bucket.Bucket(key)
		fmt.Printf("%d %s / %d\n", depth, hex.EncodeToString(key), inner.Sequence())
		return show(inner, depth+1)
	})
}

func check(db *bolt.DB) {
	err := db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			log.Fatal("check: ", err)
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
}

// change puts a value into each bucket, and takes every third key out of it.
func change(bucket *bolt.Bucket, root bool) error {
	var buckets, values [][]byte
	err := bucket.ForEach(func(key, value []byte) error {
		if value == nil {
			buckets = append(buckets, append([]byte{}, key...))
		} else {
			values = append(values, append([]byte{}, key...))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for at, key := range values {
		if at%3 == 0 {
			if err := bucket.Delete(key); err != nil {
				return err
			}
		}
	}
	for _, key := range buckets {
		if err := change(bucket.Bucket(key), false); err != nil {
			return err
		}
	}
	if root {
		return nil
	}
	return bucket.Put([]byte("\xff a new key"), make([]byte, 100))
}

func main() {
	for _, path := range os.Args[1:] {
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			log.Fatal(err)
		}
		check(db)
		err = db.View(func(tx *bolt.Tx) error {
			return tx.ForEach(func(name []byte, bucket *bolt.Bucket) error {
				fmt.Printf("0 %s / %d\n", hex.EncodeToString(name), bucket.Sequence())
				return show(bucket, 1)
			})
		})
		if err != nil {
			log.Fatal(err)
		}
		err = db.Update(func(tx *bolt.Tx) error { return change(tx.Cursor().Bucket(), true) })
		if err != nil {
			log.Fatal("change: ", err)
		}
		check(db)
		if err := db.Close(); err != nil {
			log.Fatal(err)
		}
	}
}
