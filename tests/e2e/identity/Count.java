import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;

/** Logs in with a password and counts: address, user, password. */
class Count {
    public static void main(String[] arguments) throws Exception {
        try (Connection connection =
                        DriverManager.getConnection(arguments[0], arguments[1], arguments[2]);
                Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT count(*) FROM items")) {
            rows.next();
            System.out.println(rows.getInt(1));
        }
    }
}
