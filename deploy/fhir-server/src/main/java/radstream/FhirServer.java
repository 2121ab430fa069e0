package radstream;

import ca.uhn.fhir.batch2.jobs.config.Batch2JobsConfig;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.config.HapiJpaConfig;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.interceptor.UserRequestRetryVersionConflictsInterceptor;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.config.SubscriptionSettings;
import ca.uhn.fhir.jpa.model.dialect.HapiFhirH2Dialect;
import ca.uhn.fhir.jpa.provider.IJpaSystemProvider;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.jpa.subscription.submit.config.SubscriptionSubmitterConfig;
import ca.uhn.fhir.parser.StrictErrorHandler;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.interceptor.RequestValidatingInterceptor;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import ca.uhn.fhir.validation.IValidatorModule;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import jakarta.persistence.EntityManagerFactory;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Properties;
import javax.sql.DataSource;
import org.apache.commons.dbcp2.BasicDataSource;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.context.annotation.Primary;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;

/** FHIR R4 server: HAPI JPA storage on an H2 file, in Jetty. Settings: -Dhost= -Dport= -Ddb= -Dstrict=true -Dvalidate=true -Drefs=strict|loose */
@Configuration
@Import({JpaR4Config.class, HapiJpaConfig.class, JpaBatch2Config.class, Batch2JobsConfig.class,
        SubscriptionChannelConfig.class, SubscriptionSubmitterConfig.class, ThreadPoolFactoryConfig.class})
public class FhirServer {

    @Bean PartitionSettings partitionSettings() { return new PartitionSettings(); }

    @Bean SubscriptionSettings subscriptionSettings() { return new SubscriptionSettings(); }

    @Bean JpaStorageSettings jpaStorageSettings() {
        JpaStorageSettings s = new JpaStorageSettings();
        s.setResourceClientIdStrategy(JpaStorageSettings.ClientIdStrategyEnum.ANY);
        boolean strict = "strict".equals(System.getProperty("refs", "loose"));
        s.setEnforceReferentialIntegrityOnWrite(strict);
        s.setEnforceReferentialIntegrityOnDelete(strict);
        s.setAllowExternalReferences(true);
        s.setAllowMultipleDelete(true);
        s.setReuseCachedSearchResultsForMillis(null); // every search sees what was just written
        return s;
    }

    @Bean(destroyMethod = "close") DataSource dataSource() {
        BasicDataSource d = new BasicDataSource();
        d.setUrl(System.getProperty("db", "jdbc:h2:file:./data/fhir;WRITE_DELAY=0;DB_CLOSE_ON_EXIT=FALSE"));
        d.setUsername("sa");
        d.setPassword("");
        d.setMaxTotal(32);
        return d;
    }

    @Bean @Primary LocalContainerEntityManagerFactoryBean entityManagerFactory(
            DataSource ds, ConfigurableListableBeanFactory f, FhirContext ctx, JpaStorageSettings s) {
        LocalContainerEntityManagerFactoryBean e = HapiEntityManagerFactoryUtil.newEntityManagerFactory(f, ctx, s);
        e.setPersistenceUnitName("HAPI_PU");
        e.setDataSource(ds);
        Properties p = new Properties();
        p.put("hibernate.dialect", HapiFhirH2Dialect.class.getName());
        p.put("hibernate.hbm2ddl.auto", "update");
        p.put("hibernate.jdbc.batch_size", "20");
        p.put("hibernate.search.enabled", "false");
        p.put("hibernate.cache.use_second_level_cache", "false");
        p.put("hibernate.cache.use_query_cache", "false");
        e.setJpaProperties(p);
        return e;
    }

    @Bean @Primary JpaTransactionManager transactionManager(EntityManagerFactory emf) {
        return new JpaTransactionManager(emf);
    }

    public static void main(String[] args) throws Exception {
        AnnotationConfigApplicationContext app = new AnnotationConfigApplicationContext(FhirServer.class);
        RestfulServer fhir = new RestfulServer(app.getBean(FhirContext.class));
        fhir.registerProviders(app.getBean(ResourceProviderFactory.class).createProviders());
        fhir.registerProvider(app.getBean(IJpaSystemProvider.class));
        fhir.setServerConformanceProvider(new JpaCapabilityStatementProvider(fhir, app.getBean(IFhirSystemDao.class),
                app.getBean(JpaStorageSettings.class), app.getBean(ISearchParamRegistry.class), app.getBean(IValidationSupport.class)));
        fhir.setPagingProvider(app.getBean(DatabaseBackedPagingProvider.class));
        fhir.setDefaultResponseEncoding(EncodingEnum.JSON);
        // a client may send "X-Retry-On-Version-Conflict: retry; max-retries=10" to have 409 races retried in the server
        fhir.registerInterceptor(new UserRequestRetryVersionConflictsInterceptor());
        if (Boolean.getBoolean("strict")) { // unknown elements are an error (400), not dropped with a log line
            fhir.getFhirContext().setParserErrorHandler(new StrictErrorHandler());
        }
        if (Boolean.getBoolean("validate")) { // full profile validation of what is written (422): slow
            RequestValidatingInterceptor v = new RequestValidatingInterceptor();
            v.setFailOnSeverity(ResultSeverityEnum.ERROR);
            v.setValidatorModules(List.of(app.getBean(IValidatorModule.class)));
            fhir.registerInterceptor(v);
        }
        String host = System.getProperty("host", "127.0.0.1"); // it has no login: only loopback unless somebody says otherwise
        Server jetty = new Server(new InetSocketAddress(host, Integer.getInteger("port", 8090)));
        ServletContextHandler web = new ServletContextHandler("/");
        web.addServlet(new ServletHolder(fhir), "/fhir/*");
        jetty.setHandler(web);
        jetty.setStopAtShutdown(true);
        Runtime.getRuntime().addShutdownHook(new Thread(app::close));
        jetty.start();
        System.out.println("FHIR R4 server on http://" + host + ":" + jetty.getURI().getPort() + "/fhir");
        jetty.join();
    }
}
