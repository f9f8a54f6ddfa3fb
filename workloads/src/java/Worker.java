import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.InvalidOffsetException;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.Callback;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * One client of kafka-clients, told by lines on standard input what to do (workloads/src/java/protocol.rs has the words). It decides nothing:
 * what an answer means is kchaos' to say. It ends when its standard input does, so it cannot outlive the kchaos that started it.
 */
public final class Worker {
    private static final Duration START_PATIENCE = Duration.ofSeconds(4);

    private final BlockingQueue<String> in = new LinkedBlockingQueue<>();
    private final BlockingQueue<String> out = new LinkedBlockingQueue<>();
    private final List<TopicPartition> keys = new ArrayList<>();

    public static void main(String[] arguments) throws Exception {
        new Worker().work();
    }

    private void work() throws Exception {
        start("stdin", this::read);
        start("stdout", this::write);
        String role = in.take();
        Properties properties = new Properties();
        for (String line = in.take(); !line.equals("go"); line = in.take()) {
            String[] words = line.split(" ", -1);
            if (words[0].equals("set")) {
                properties.put(words[1], new String(bytes(words[2]), StandardCharsets.UTF_8));
            } else {
                keys.add(new TopicPartition(words[1], Integer.parseInt(words[2])));
            }
        }
        try {
            if (role.equals("producer")) {
                produce(new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer()));
            } else {
                consume(new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer()));
            }
        } catch (Exception error) {
            out.put("refused " + named(error));
            Thread.sleep(START_PATIENCE.toMillis());
            Runtime.getRuntime().halt(1);
        }
    }

    private String ready() {
        return "ready " + AppInfoParser.getVersion() + " " + System.getProperty("java.version");
    }

    private void produce(KafkaProducer<byte[], byte[]> producer) throws InterruptedException {
        out.put(ready());
        Thread sender = Thread.currentThread();
        while (true) {
            String[] words = in.take().split(" ", -1);
            String ticket = words[1];
            TopicPartition place = keys.get(Integer.parseInt(words[2]));
            Callback answered = (metadata, error) -> {
                // Called back before send() returned: refused, mostly before anything was kept to be sent.
                String stage = Thread.currentThread() == sender ? "send" : "report";
                out.add(error == null ? "a " + ticket + " " + metadata.offset() : "e " + ticket + " " + stage + " " + named(error));
            };
            try {
                producer.send(new ProducerRecord<>(place.topic(), place.partition(), bytes(words[3]), bytes(words[4])), answered);
            } catch (Exception error) {
                out.add("e " + ticket + " send " + named(error));
            }
        }
    }

    private void consume(KafkaConsumer<byte[], byte[]> consumer) throws InterruptedException {
        out.put(ready());
        Map<TopicPartition, Integer> numbers = new HashMap<>();
        for (int number = 0; number < keys.size(); number++) {
            numbers.put(keys.get(number), number);
        }
        while (true) {
            String[] words = in.take().split(" ", -1);
            try {
                switch (words[0]) {
                    case "assign" -> assign(consumer, words);
                    case "poll" -> poll(consumer, numbers, Long.parseLong(words[1]));
                    case "start" -> start(consumer, keys.get(Integer.parseInt(words[1])), Long.parseLong(words[2]));
                    default -> out.put("error - 0 IllegalArgumentException " + text(words[0]));
                }
            } catch (InvalidOffsetException error) {
                out.put("error range " + named(error));
            } catch (Exception error) {
                out.put("error - " + named(error));
            }
        }
    }

    /** assign KEY:OFFSET … */
    private void assign(KafkaConsumer<byte[], byte[]> consumer, String[] words) throws InterruptedException {
        Map<TopicPartition, Long> places = new HashMap<>();
        for (int index = 1; index < words.length; index++) {
            String[] place = words[index].split(":");
            places.put(keys.get(Integer.parseInt(place[0])), Long.parseLong(place[1]));
        }
        consumer.assign(places.keySet());
        places.forEach(consumer::seek);
        out.put("done");
    }

    /** What was read, or positions if nothing was: those are beyond markers, and beyond what was aborted. */
    private void poll(KafkaConsumer<byte[], byte[]> consumer, Map<TopicPartition, Integer> numbers, long timeoutMs) throws InterruptedException {
        int count = 0;
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(timeoutMs))) {
            int number = numbers.get(new TopicPartition(record.topic(), record.partition()));
            int epoch = record.leaderEpoch().orElse(-1);
            out.put("r " + number + " " + record.offset() + " " + epoch + " " + text(record.key()) + " " + text(record.value()));
            count++;
        }
        StringBuilder done = new StringBuilder("done");
        if (count == 0) {
            for (TopicPartition place : consumer.assignment()) {
                try {
                    done.append(' ').append(numbers.get(place)).append(':').append(consumer.position(place, Duration.ZERO));
                } catch (TimeoutException error) {
                    // Not known now: a leader is being asked whether the position is still its log's.
                }
            }
        }
        out.put(done.toString());
    }

    /** start KEY TIMEOUT_MS */
    private void start(KafkaConsumer<byte[], byte[]> consumer, TopicPartition place, long timeoutMs) throws InterruptedException {
        out.put("done " + consumer.beginningOffsets(List.of(place), Duration.ofMillis(timeoutMs)).get(place));
    }

    private static void start(String name, Runnable run) {
        Thread thread = new Thread(run, name);
        thread.setDaemon(true);
        thread.start();
    }

    private void read() {
        try (BufferedReader reader = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII))) {
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                in.put(line);
            }
        } catch (Exception error) {
            System.err.println("ERROR standard input: " + error);
        }
        Runtime.getRuntime().halt(0);
    }

    /** Flushed when nothing waits: a line alone goes at once, and many go together. */
    private void write() {
        try (OutputStream stream = new BufferedOutputStream(System.out, 1 << 16)) {
            while (true) {
                for (String line = out.take(); line != null; line = out.poll()) {
                    stream.write(line.getBytes(StandardCharsets.US_ASCII));
                    stream.write('\n');
                }
                stream.flush();
            }
        } catch (Exception error) {
            Runtime.getRuntime().halt(2);
        }
    }

    /** RETRIABLE CLASS MESSAGE */
    private static String named(Throwable error) {
        String message = error.getMessage() == null ? "" : error.getMessage();
        String retriable = error instanceof RetriableException ? "1" : "0";
        return retriable + " " + error.getClass().getSimpleName() + " " + text(message.getBytes(StandardCharsets.UTF_8));
    }

    private static String text(String text) {
        return text(text.getBytes(StandardCharsets.UTF_8));
    }

    private static String text(byte[] bytes) {
        return bytes == null ? "-" : Base64.getEncoder().encodeToString(bytes);
    }

    private static byte[] bytes(String text) {
        return text.equals("-") ? null : Base64.getDecoder().decode(text);
    }
}
