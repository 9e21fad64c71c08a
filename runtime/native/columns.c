/* Kafka records in columns: many of librdkafka's messages into, or out of, a few flat arrays in one call.
 *
 * The functions of librdkafka are looked up in the copy that the Python client has loaded (`columns_bind`), so that
 * nothing is linked here and both speak to the same client. Only its public interface is used; the two structures below
 * are of that interface (rdkafka.h, rd_kafka_message_t and rd_kafka_vu_t). Nothing here knows of Python.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

typedef struct {
    int err;
    void *topic;
    int32_t partition;
    void *payload; /* the error's text where `err` is set */
    size_t size;
    void *key;
    size_t key_size;
    int64_t offset;
    void *own;
} message_t;

typedef struct {
    int kind;
    union {
        void *topic;
        int flags;
        int32_t partition;
        int64_t timestamp;
        struct {
            const void *data;
            size_t size;
        } bytes;
        char room[64];
    } u;
} argument_t;

enum { ARGUMENT_TOPIC = 2, ARGUMENT_PARTITION, ARGUMENT_VALUE, ARGUMENT_KEY, ARGUMENT_FLAGS = 7, ARGUMENT_TIMESTAMP };
enum { COPY = 2 };
enum { HAS_HEADERS = 1, HAS_ERRORS = 2 };

static struct {
    void *(*queue_get_partition)(void *, const char *, int32_t);
    void *(*queue_get_consumer)(void *);
    void (*queue_forward)(void *, void *);
    void (*queue_io_event_enable)(void *, int, const void *, size_t);
    void (*queue_destroy)(void *);
    ssize_t (*consume_batch_queue)(void *, int, message_t **, size_t);
    int64_t (*message_timestamp)(const message_t *, int *);
    int (*message_headers)(const message_t *, void **);
    int (*header_get_all)(const void *, size_t, const char **, const void **, size_t *);
    void (*message_destroy)(message_t *);
    void *(*topic_new)(void *, const char *, void *);
    void (*topic_destroy)(void *);
    void *(*produceva)(void *, const argument_t *, size_t);
    int (*error_code)(const void *);
    void (*error_destroy)(void *);
} api;

/* Look the functions up in a library opened by dlopen. Returns how many are missing. */
int columns_bind(void *library) {
    const struct {
        const char *name;
        void *place;
    } wanted[] = {
        {"rd_kafka_queue_get_partition", &api.queue_get_partition},
        {"rd_kafka_queue_get_consumer", &api.queue_get_consumer},
        {"rd_kafka_queue_forward", &api.queue_forward},
        {"rd_kafka_queue_io_event_enable", &api.queue_io_event_enable},
        {"rd_kafka_queue_destroy", &api.queue_destroy},
        {"rd_kafka_consume_batch_queue", &api.consume_batch_queue},
        {"rd_kafka_message_timestamp", &api.message_timestamp},
        {"rd_kafka_message_headers", &api.message_headers},
        {"rd_kafka_header_get_all", &api.header_get_all},
        {"rd_kafka_message_destroy", &api.message_destroy},
        {"rd_kafka_topic_new", &api.topic_new},
        {"rd_kafka_topic_destroy", &api.topic_destroy},
        {"rd_kafka_produceva", &api.produceva},
        {"rd_kafka_error_code", &api.error_code},
        {"rd_kafka_error_destroy", &api.error_destroy},
    };
    int missing = 0;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        void *found = dlsym(library, wanted[i].name);
        memcpy(wanted[i].place, &found, sizeof(found));
        missing += found == NULL;
    }
    return missing;
}

static void wake_by(void *queue, int fd) {
    const uint64_t one = 1;
    api.queue_io_event_enable(queue, fd, &one, sizeof(one));
}

/* The consumer's own queue; whatever comes into it makes the event file `fd` readable. */
void *columns_watch(void *client, int fd) {
    void *queue = api.queue_get_consumer(client);
    if (queue != NULL)
        wake_by(queue, fd);
    return queue;
}

/* A partition's queue, from now on apart from the consumer's own; what comes into it makes `fd` readable. */
void *columns_part(void *client, const char *topic, int32_t partition, int fd) {
    void *queue = api.queue_get_partition(client, topic, partition);
    if (queue != NULL) {
        api.queue_forward(queue, NULL);
        wake_by(queue, fd);
    }
    return queue;
}

void columns_release(void *queue) {
    api.queue_io_event_enable(queue, -1, NULL, 0);
    api.queue_destroy(queue);
}

/* Take up to `most` messages that have come, a fair part of each queue, those of a queue together and in order.
 * `totals`: bytes of all keys, bytes of all values, and what there is of HAS_*. Returns how many. */
int64_t columns_take(void **queues, int64_t n, int64_t most, message_t **into, int64_t *totals) {
    int64_t taken = 0, keys = 0, values = 0, flags = 0;
    for (int64_t i = 0; i < n && taken < most; i++) {
        int64_t quota = (most - taken + n - i - 1) / (n - i);
        ssize_t got = api.consume_batch_queue(queues[i], 0, into + taken, (size_t)quota);
        for (ssize_t k = 0; k < got; k++) {
            const message_t *message = into[taken + k];
            void *headers;
            keys += message->key ? (int64_t)message->key_size : 0;
            values += message->payload ? (int64_t)message->size : 0;
            if (message->err)
                flags |= HAS_ERRORS;
            else if (api.message_headers(message, &headers) == 0)
                flags |= HAS_HEADERS;
        }
        taken += got > 0 ? got : 0;
    }
    totals[0] = keys;
    totals[1] = values;
    totals[2] = flags;
    return taken;
}

static uint8_t *append(uint8_t *to, const void *data, size_t size, int64_t *length) {
    *length = data ? (int64_t)size : -1;
    if (data && size) {
        memcpy(to, data, size);
        to += size;
    }
    return to;
}

/* The columns of messages; keys and values one after the other, a length of -1 for none. */
void columns_read(message_t **messages, int64_t n, int32_t *errors, int32_t *partitions, int64_t *offsets,
                  int64_t *timestamps, int64_t *key_lengths, uint8_t *keys, int64_t *value_lengths, uint8_t *values) {
    for (int64_t i = 0; i < n; i++) {
        const message_t *message = messages[i];
        int kind;
        errors[i] = message->err;
        partitions[i] = message->partition;
        offsets[i] = message->offset;
        timestamps[i] = message->err ? -1 : api.message_timestamp(message, &kind);
        keys = append(keys, message->key, message->key_size, &key_lengths[i]);
        values = append(values, message->payload, message->size, &value_lengths[i]);
    }
}

/* The header at a place of a message: 0 and what it is, or not 0: there is none. */
int columns_header(const message_t *message, int64_t place, const char **name, const void **value, size_t *size) {
    void *headers;
    if (message->err || api.message_headers(message, &headers) != 0)
        return 1;
    return api.header_get_all(headers, (size_t)place, name, value, size);
}

void columns_free(message_t **messages, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        api.message_destroy(messages[i]);
}

void *columns_topic(void *client, const char *name) { return api.topic_new(client, name, NULL); }

void columns_forget_topic(void *topic) { api.topic_destroy(topic); }

/* Queue copies of records `begin` to `n`. Returns the place of the first that was not queued, `n` if all were, and why
 * not in `error`. A length of -1 is null; a timestamp of 0 is now. */
int64_t columns_produce(void *client, void *topic, int64_t begin, int64_t n, const int32_t *partitions,
                        const int64_t *timestamps, const uint8_t *keys, const int64_t *key_starts,
                        const int64_t *key_lengths, const uint8_t *values, const int64_t *value_starts,
                        const int64_t *value_lengths, int32_t *error) {
    argument_t arguments[6];
    memset(arguments, 0, sizeof(arguments));
    arguments[0].kind = ARGUMENT_TOPIC;
    arguments[0].u.topic = topic;
    arguments[1].kind = ARGUMENT_FLAGS;
    arguments[1].u.flags = COPY;
    arguments[2].kind = ARGUMENT_PARTITION;
    arguments[3].kind = ARGUMENT_TIMESTAMP;
    arguments[4].kind = ARGUMENT_KEY;
    arguments[5].kind = ARGUMENT_VALUE;
    *error = 0;
    for (int64_t i = begin; i < n; i++) {
        arguments[2].u.partition = partitions[i];
        arguments[3].u.timestamp = timestamps[i];
        arguments[4].u.bytes.data = key_lengths[i] < 0 ? NULL : keys + key_starts[i];
        arguments[4].u.bytes.size = key_lengths[i] < 0 ? 0 : (size_t)key_lengths[i];
        arguments[5].u.bytes.data = value_lengths[i] < 0 ? NULL : values + value_starts[i];
        arguments[5].u.bytes.size = value_lengths[i] < 0 ? 0 : (size_t)value_lengths[i];
        void *failed = api.produceva(client, arguments, 6);
        if (failed != NULL) {
            *error = api.error_code(failed);
            api.error_destroy(failed);
            return i;
        }
    }
    return n;
}
