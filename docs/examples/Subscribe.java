import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.*;

/** What the AI says, as it says it: java -cp 'LIBRARIES/*' Subscribe.java HOST:PORT GROUP (needs kafka-clients and jackson-databind) */
public class Subscribe {
    /** The highest sequence of each study and service; yours belongs into your database, written together with your work. */
    static final Map<String, Integer> held = new HashMap<>();

    static void work(JsonNode said) {
        var subject = said.get("subject");
        var study = subject.get("study_instance_uid").asText() + " " + said.get("service").asText();
        int sequence = subject.get("sequence").asInt();
        if (!subject.path("outward").asBoolean(true)) return; // for radstream alone
        if (sequence <= held.getOrDefault(study, 0)) return; // it came twice, or after a later one: what is held stays
        var words = new ArrayList<String>();
        if (said.hasNonNull("not_analysed")) // withdraws what was said of the study before
            words.add("not analysed: " + said.get("not_analysed").get("reason").asText());
        for (var one : said.path("findings")) words.add(told(one.get("kind"), one.get("probability")));
        for (var image : said.path("images"))
            for (var one : image.path("outputs")) words.add(told(one.get("name"), one.get("value")));
        if (words.isEmpty()) words.add("nothing found");
        var after = said.hasNonNull("verified_at") ? " (after verification)" : "";
        System.out.println(study + " " + sequence + " " + String.join(", ", words) + after);
        held.put(study, sequence);
    }

    static String told(JsonNode name, JsonNode value) {
        return String.format(Locale.ROOT, "%s %.2f", name.asText(), value.asDouble());
    }

    public static void main(String[] arguments) throws Exception {
        var settings = Map.<String, Object>of("bootstrap.servers", arguments[0], "group.id", arguments[1],
            "enable.auto.commit", false, "auto.offset.reset", "earliest");
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of("ai.results"));
            while (true) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) work(new ObjectMapper().readTree(record.value()));
                consumer.commitSync(); // after the work: a crash repeats it, and loses nothing
            }
        }
    }
}
