import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** One stream by HttpURLConnection, come back to with its last event id: Stream URL. Prints what stream.py prints. */
class Stream {
    static final Pattern TEXT = Pattern.compile("\"message\":\\{.*\"text\":\"(\\d+)\"\\}");
    static String last;

    public static void main(String[] arguments) throws Exception {
        while (true) {
            System.out.println("asked");
            try {
                read(arguments[0]);
            } catch (java.io.IOException error) {
                System.err.println("java: " + error);
            }
            Thread.sleep(500);
        }
    }

    static void read(String url) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
        connection.setRequestProperty("Accept", "text/event-stream");
        if (last != null) {
            connection.setRequestProperty("Last-Event-ID", last);
        }
        connection.setReadTimeout(20_000);
        boolean first = true;
        var stream = new InputStreamReader(connection.getInputStream(), StandardCharsets.UTF_8);
        try (BufferedReader lines = new BufferedReader(stream)) {
            String id = null;
            for (String line; (line = lines.readLine()) != null;) {
                if (line.startsWith("id: ")) {
                    id = line.substring(4);
                } else if (line.isEmpty() && id != null) {
                    last = id;
                    if (first) {
                        System.out.println("event");
                    }
                    first = false;
                } else if (line.startsWith("data: ")) {
                    if (line.startsWith("data: {\"type\":\"connected\"")) {
                        System.out.println("connected");
                    }
                    Matcher text = TEXT.matcher(line);
                    if (text.find()) {
                        System.out.println(text.group(1));
                    }
                }
            }
        }
    }
}
