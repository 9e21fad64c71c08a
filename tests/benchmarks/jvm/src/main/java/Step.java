import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.TensorInfo;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * One step of one stream. One session a process, on one thread a call; an instance belongs to one thread, its tensors
 * are direct memory that is made once. A state goes in as NAME and comes out as NAME.next; a stream's state is all of
 * them side by side, float32, little-endian.
 */
final class Step {
    private static OrtSession session;

    private final List<ByteBuffer> in = new ArrayList<>();
    private final List<ByteBuffer> out = new ArrayList<>();
    private final Map<String, OnnxTensor> feed = new HashMap<>();
    private final Map<String, OnnxTensor> fetch = new HashMap<>();
    private ByteBuffer x;
    private ByteBuffer y;
    private int stateBytes;

    Step(String graph) {
        try {
            OrtSession open = open(graph);
            for (var entry : open.getOutputInfo().entrySet()) {
                String name = entry.getKey();
                if (!name.endsWith(".next")) {
                    y = buffer(width(entry.getValue().getInfo()));
                    fetch.put(name, tensor(y));
                }
            }
            for (var entry : open.getInputInfo().entrySet()) {
                String name = entry.getKey();
                int width = width(entry.getValue().getInfo());
                ByteBuffer given = buffer(width);
                feed.put(name, tensor(given));
                if (open.getOutputNames().contains(name + ".next")) {
                    ByteBuffer following = buffer(width);
                    fetch.put(name + ".next", tensor(following));
                    in.add(given);
                    out.add(following);
                    stateBytes += 4 * width;
                } else {
                    x = given;
                }
            }
        } catch (OrtException error) {
            throw new IllegalStateException(error);
        }
    }

    private static synchronized OrtSession open(String graph) throws OrtException {
        if (session == null) {
            OrtSession.SessionOptions options = new OrtSession.SessionOptions();
            options.setIntraOpNumThreads(1);
            options.setInterOpNumThreads(1);
            session = OrtEnvironment.getEnvironment().createSession(graph, options);
        }
        return session;
    }

    private static int width(Object info) {
        long[] shape = ((TensorInfo) info).getShape();
        return (int) shape[shape.length - 1];
    }

    private static ByteBuffer buffer(int width) {
        return ByteBuffer.allocateDirect(4 * width).order(ByteOrder.nativeOrder());
    }

    private static OnnxTensor tensor(ByteBuffer bytes) throws OrtException {
        long[] shape = {1, 1, bytes.capacity() / 4};
        return OnnxTensor.createTensor(OrtEnvironment.getEnvironment(), bytes.asFloatBuffer(), shape);
    }

    /** The output for a value; {@code next} receives the new state. A {@code state} of null is zeros. */
    byte[] run(byte[] value, byte[] state, byte[] next) {
        x.put(0, value, 0, x.capacity());
        int at = 0;
        for (ByteBuffer part : in) {
            if (state == null) {
                part.put(0, new byte[part.capacity()], 0, part.capacity());
            } else {
                part.put(0, state, at, part.capacity());
            }
            at += part.capacity();
        }
        try (OrtSession.Result result = session.run(feed, fetch)) {
            at = 0;
        } catch (OrtException error) {
            throw new IllegalStateException(error);
        }
        for (ByteBuffer part : out) {
            part.get(0, next, at, part.capacity());
            at += part.capacity();
        }
        byte[] output = new byte[y.capacity()];
        y.get(0, output, 0, output.length);
        return output;
    }

    int stateBytes() {
        return stateBytes;
    }
}
