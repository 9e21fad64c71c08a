import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams, exactly once: a step a record, state in RocksDB with a changelog and the store's cache, two threads.
 * BROKER GRAPH IN OUT N FOLDER. Ends when N records are processed and their last commit is done.
 */
public final class StreamsPeer {
    private StreamsPeer() {
    }

    static final class StepProcessor implements Processor<byte[], byte[], byte[], byte[]> {
        private final String graph;
        private KeyValueStore<byte[], byte[]> store;
        private ProcessorContext<byte[], byte[]> context;
        private Step step;

        StepProcessor(String graph) {
            this.graph = graph;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> given) {
            context = given;
            store = given.getStateStore("state");
            step = new Step(graph);
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            byte[] next = new byte[step.stateBytes()];
            byte[] output = step.run(record.value(), store.get(record.key()), next);
            store.put(record.key(), next);
            context.forward(record.withValue(output));
            Progress.one();
        }
    }

    public static void main(String[] arguments) throws Exception {
        String broker = arguments[0];
        String graph = arguments[1];
        long n = Long.parseLong(arguments[4]);
        Path folder = Path.of(arguments[5]);
        Files.createDirectories(folder);
        Topology topology = new Topology();
        topology.addSource("in", new ByteArrayDeserializer(), new ByteArrayDeserializer(), arguments[2]);
        topology.addProcessor("step", () -> new StepProcessor(graph), "in");
        var store = Stores.persistentKeyValueStore("state");
        var builder = Stores.keyValueStoreBuilder(store, Serdes.ByteArray(), Serdes.ByteArray());
        topology.addStateStore(builder.withCachingEnabled(), "step");
        topology.addSink("out", arguments[3], new ByteArraySerializer(), new ByteArraySerializer(), "step");
        Properties properties = new Properties();
        properties.put("application.id", "streams-" + folder.getFileName());
        properties.put("bootstrap.servers", broker);
        properties.put("auto.offset.reset", "earliest");
        properties.put("state.dir", folder.toString());
        properties.put("num.stream.threads", 2);
        properties.put("processing.guarantee", "exactly_once_v2");
        KafkaStreams streams = new KafkaStreams(topology, properties);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        streams.start();
        while (Progress.count() < n) {
            if (streams.state() == KafkaStreams.State.ERROR) {
                System.exit(1);
            }
            Thread.sleep(5);
        }
        streams.close();
        Progress.done();
    }
}
