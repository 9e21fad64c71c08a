import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * Flink in a local cluster, exactly once: KafkaSource, keyBy, ValueState on the heap, KafkaSink, two threads, a checkpoint
 * a second. BROKER GRAPH IN OUT N FOLDER. The source ends where the topic ends; the job ends with its last commit.
 */
public final class FlinkPeer {
    private static final TypeInformation<Tuple2<String, byte[]>> PAIR =
        Types.TUPLE(Types.STRING, TypeInformation.of(byte[].class));
    private static final int THREADS = 2;
    private static final Duration CHECKPOINT = Duration.ofSeconds(1);

    private FlinkPeer() {
    }

    static final class FromKafka implements KafkaRecordDeserializationSchema<Tuple2<String, byte[]>> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Tuple2<String, byte[]>> out) {
            out.collect(Tuple2.of(new String(record.key(), StandardCharsets.ISO_8859_1), record.value()));
        }

        @Override
        public TypeInformation<Tuple2<String, byte[]>> getProducedType() {
            return PAIR;
        }
    }

    static final class ToKafka implements KafkaRecordSerializationSchema<Tuple2<String, byte[]>> {
        private final String topic;

        ToKafka(String topic) {
            this.topic = topic;
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(Tuple2<String, byte[]> pair, KafkaSinkContext context, Long time) {
            return new ProducerRecord<>(topic, pair.f0.getBytes(StandardCharsets.ISO_8859_1), pair.f1);
        }
    }

    static final class StepFunction extends KeyedProcessFunction<String, Tuple2<String, byte[]>, Tuple2<String, byte[]>> {
        private final String graph;
        private transient Step step;
        private transient ValueState<byte[]> state;

        StepFunction(String graph) {
            this.graph = graph;
        }

        @Override
        public void open(OpenContext context) {
            step = new Step(graph);
            state = getRuntimeContext().getState(new ValueStateDescriptor<>("state", byte[].class));
        }

        @Override
        public void processElement(Tuple2<String, byte[]> pair, Context context, Collector<Tuple2<String, byte[]>> out)
                throws Exception {
            byte[] next = new byte[step.stateBytes()];
            byte[] output = step.run(pair.f1, state.value(), next);
            state.update(next);
            out.collect(Tuple2.of(pair.f0, output));
            Progress.one();
        }
    }

    public static void main(String[] arguments) throws Exception {
        String broker = arguments[0];
        String graph = arguments[1];
        String folder = arguments[5];
        Configuration settings = new Configuration();
        settings.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, "file://" + folder);
        settings.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(64));
        settings.set(TaskManagerOptions.NETWORK_MEMORY_MIN, MemorySize.ofMebiBytes(64));
        settings.set(TaskManagerOptions.NETWORK_MEMORY_MAX, MemorySize.ofMebiBytes(64));
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(THREADS, settings);
        environment.enableCheckpointing(CHECKPOINT.toMillis());
        environment.getConfig().enableObjectReuse();
        String name = "flink-" + folder.replaceAll("[^A-Za-z0-9]", "-");
        KafkaSource<Tuple2<String, byte[]>> source = KafkaSource.<Tuple2<String, byte[]>>builder()
            .setBootstrapServers(broker)
            .setTopics(arguments[2])
            .setGroupId(name)
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setBounded(OffsetsInitializer.latest())
            .setDeserializer(new FromKafka())
            .build();
        KafkaSink<Tuple2<String, byte[]>> sink = KafkaSink.<Tuple2<String, byte[]>>builder()
            .setBootstrapServers(broker)
            .setRecordSerializer(new ToKafka(arguments[3]))
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(name)
            .setProperty("transaction.timeout.ms", "600000")
            .setProperty("linger.ms", "5")
            .build();
        environment.fromSource(source, WatermarkStrategy.noWatermarks(), "in")
            .keyBy(pair -> pair.f0, Types.STRING)
            .process(new StepFunction(graph))
            .returns(PAIR)
            .sinkTo(sink);
        environment.execute();
        Progress.done();
        System.exit(0);
    }
}
