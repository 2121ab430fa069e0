package radstream;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.SingleValidationMessage;
import java.nio.file.Files;
import java.nio.file.Path;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.r5.utils.validation.constants.BestPracticeWarningLevel;

/** Validates JSON files against base FHIR R4 4.0.1, offline. Exit 1 if any file has an error, 2 on wrong use. -Dquiet=true: errors only, -Dbest=true: best-practice hints too. */
public class FhirValidate {
    public static void main(String[] files) throws Exception {
        if (files.length == 0) { System.err.println("usage: FhirValidate FILE.json..."); System.exit(2); }
        long t0 = System.nanoTime();
        FhirContext ctx = FhirContext.forR4();
        FhirInstanceValidator module = new FhirInstanceValidator(new ValidationSupportChain(
                new DefaultProfileValidationSupport(ctx),
                new CommonCodeSystemsTerminologyService(ctx),
                new InMemoryTerminologyServerValidationSupport(ctx)));
        module.setErrorForUnknownProfiles(false);
        if (!Boolean.getBoolean("best")) module.setBestPracticeWarningLevel(BestPracticeWarningLevel.Ignore); // no narrative/performer nagging
        FhirValidator validator = ctx.newValidator().registerValidatorModule(module);
        boolean quiet = Boolean.getBoolean("quiet"), bad = false;
        for (String f : files) {
            long t = System.nanoTime();
            int errors = 0, warnings = 0;
            try {
                for (SingleValidationMessage m : validator.validateWithResult(Files.readString(Path.of(f))).getMessages()) {
                    boolean err = m.getSeverity() == ResultSeverityEnum.ERROR || m.getSeverity() == ResultSeverityEnum.FATAL;
                    if (err) errors++; else if (m.getSeverity() == ResultSeverityEnum.WARNING) warnings++;
                    if (err || !quiet) System.out.printf("%s:%s:%s: %s: %s: %s%n", f, m.getLocationLine(), m.getLocationCol(),
                            m.getSeverity(), m.getLocationString(), m.getMessage());
                }
            } catch (Exception e) { // unreadable or not FHIR at all
                errors++;
                System.out.printf("%s: FATAL: %s%n", f, e.getMessage());
            }
            bad |= errors > 0;
            System.out.printf("%s: %s, %d errors, %d warnings, %d ms%n", f, errors == 0 ? "OK" : "FAILED", errors, warnings, (System.nanoTime() - t) / 1_000_000);
        }
        System.err.printf("%d files, %d ms%n", files.length, (System.nanoTime() - t0) / 1_000_000);
        System.exit(bad ? 1 : 0);
    }
}
