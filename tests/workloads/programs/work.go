// Goroutines, channels, maps, the collector and preemption by signals; prints results only.
package main

import (
	"crypto/sha256"
	"fmt"
	"math/big"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

type node struct {
	left, right *node
	v           int
}

func tree(d, v int) *node {
	if d == 0 {
		return &node{nil, nil, v}
	}
	return &node{tree(d-1, 2*v), tree(d-1, 2*v+1), v}
}

func (n *node) sum() int {
	if n == nil {
		return 0
	}
	return n.v + n.left.sum() - n.right.sum()
}

func spin(stop *int32) (n uint64) {
	for atomic.LoadInt32(stop) == 0 {
		n++
	}
	return
}

func main() {
	runtime.GOMAXPROCS(4)
	c, d := make(chan int), make(chan int, 10)
	go func() {
		for i := 0; i < 20000; i++ {
			c <- i
		}
		close(c)
	}()
	var group sync.WaitGroup
	for w := 0; w < 8; w++ {
		group.Add(1)
		go func() {
			for v := range c {
				d <- v * v % 1009
			}
			group.Done()
		}()
	}
	go func() { group.Wait(); close(d) }()
	s := 0
	for v := range d {
		s += v
	}
	fmt.Println("channels", s)
	var total int64
	var all sync.WaitGroup
	for w := 0; w < 4; w++ {
		all.Add(1)
		go func(w int) {
			m := map[string]int{}
			for i := 0; i < 30; i++ {
				t := tree(13, w+i)
				atomic.AddInt64(&total, int64(t.sum()))
				for k := 0; k < 2000; k++ {
					m[fmt.Sprint(k%700, "-", i%7)] += k
				}
			}
			for _, v := range m {
				atomic.AddInt64(&total, int64(v))
			}
			all.Done()
		}(w)
	}
	all.Wait()
	fmt.Println("trees", total)
	h := sha256.New()
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7)
	}
	for i := 0; i < 20; i++ {
		h.Write(block)
	}
	fmt.Printf("sha256 %x\n", h.Sum(nil))
	f := big.NewInt(1)
	for i := int64(1); i < 3000; i++ {
		f.Mul(f, big.NewInt(i))
	}
	fmt.Printf("big %x\n", sha256.Sum256(f.Bytes()))
	x := make([]float64, 200000)
	v := 1.0
	for i := range x {
		v = v*1.000001 + float64(i*7919%10007)
		x[i] = v / float64(i%13+1)
	}
	sort.Float64s(x)
	fmt.Println("sorted", sort.Float64sAreSorted(x), x[0], x[len(x)-1])
	// Loops without calls must be preempted, or the collector waits for ever.
	var stop int32
	for i := 0; i < 6; i++ {
		go spin(&stop)
	}
	for i := 0; i < 5; i++ {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	atomic.StoreInt32(&stop, 1)
	caught := 0
	for i := 0; i < 1000; i++ {
		func() {
			defer func() {
				if recover() != nil {
					caught++
				}
			}()
			var p *node
			p.v = i
		}()
	}
	fmt.Println("caught", caught)
}
