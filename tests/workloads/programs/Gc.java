import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Allocates from several threads, keeps some of it, and prints sums that any collector must leave right. */
public class Gc {
    static final class Node {
        final Node left, right;
        final long value;
        Node(Node left, Node right, long value) { this.left = left; this.right = right; this.value = value; }
    }

    static Node tree(int depth, long seed) {
        return depth == 0 ? new Node(null, null, seed)
                          : new Node(tree(depth - 1, seed * 31 + 1), tree(depth - 1, seed * 31 + 2), seed);
    }

    static long sum(Node n) {
        return n == null ? 0 : n.value + 3 * sum(n.left) + 5 * sum(n.right);
    }

    static long work(int id, int rounds) {
        List<byte[]> kept = new ArrayList<>();
        Map<String, Node> map = new HashMap<>();
        long h = id;
        for (int i = 0; i < rounds; i++) {
            byte[] b = new byte[1000 + (i * 7919) % 20000];
            b[b.length - 1] = (byte) i;
            if (kept.size() < 300) kept.add(b); else kept.set(i % 300, b);
            map.put("k" + (i % 500), tree(i % 9, i));
            if (i % 50 == 0) {
                StringBuilder s = new StringBuilder();
                for (int k = 0; k < 200; k++) s.append(String.format("%d,%x;", k * i, k ^ i));
                h = h * 31 + s.toString().hashCode();
            }
            if (i % 100 == 0) for (Node n : map.values()) h = h * 17 + sum(n);
        }
        for (byte[] b : kept) h = h * 13 + b[b.length - 1];
        return h;
    }

    public static void main(String[] args) throws Exception {
        int threads = 3, rounds = Integer.parseInt(args[0]);
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        List<Future<Long>> sums = new ArrayList<>();
        for (int t = 0; t < threads; t++) {
            final int id = t;
            sums.add(pool.submit(() -> work(id, rounds)));
        }
        for (Future<Long> f : sums) System.out.println(f.get());
        pool.shutdown();
        int caught = 0;
        for (int i = 0; i < 3000; i++) {
            try {
                Object[] a = i % 2 == 0 ? null : new Object[1];
                a[1] = "x";
            } catch (NullPointerException | ArrayIndexOutOfBoundsException e) {
                caught++;
            }
        }
        System.out.println("caught " + caught);
    }
}
