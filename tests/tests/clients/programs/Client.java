// Requests from a list by Java's HttpClient: `Client.java LIST CA HTTP_1_1|HTTP_2 NORMAL|ALWAYS`. Names come from jdk.net.hosts.file.
import java.io.FileInputStream;
import java.net.CookieManager;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Client {
    public static void main(String[] words) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (var file = new FileInputStream(words[1])) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        var tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        var client = HttpClient.newBuilder()
            .sslContext(tls)
            .version(HttpClient.Version.valueOf(words[2]))
            .followRedirects(HttpClient.Redirect.valueOf(words[3]))
            .cookieHandler(new CookieManager())
            .build();
        for (String line : Files.readAllLines(Path.of(words[0]))) {
            String[] part = line.split("\t");
            var body = part[3].equals("-")
                ? HttpRequest.BodyPublishers.noBody()
                : HttpRequest.BodyPublishers.ofByteArray(Files.readAllBytes(Path.of(part[3])));
            var request = HttpRequest.newBuilder(URI.create(part[2])).method(part[1], body).timeout(Duration.ofSeconds(20)).build();
            var answer = client.send(request, HttpResponse.BodyHandlers.ofByteArray());
            System.out.println(part[0] + "\t" + answer.statusCode() + "\t" + answer.uri());
        }
    }
}
