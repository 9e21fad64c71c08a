import java.util.concurrent.atomic.AtomicLong;

/** Counts the records of all threads, and says on standard output when the first one came. */
final class Progress {
    private static final AtomicLong COUNT = new AtomicLong();

    private Progress() {
    }

    static void one() {
        if (COUNT.getAndIncrement() == 0) {
            System.out.printf("{\"began\": %.3f}%n", System.currentTimeMillis() / 1e3);
            System.out.flush();
        }
    }

    static long count() {
        return COUNT.get();
    }

    static void done() {
        System.out.printf("{\"done\": %d}%n", COUNT.get());
        System.out.flush();
    }
}
